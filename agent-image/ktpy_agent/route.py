"""The forced command of a gateway's SSH sessions carries a laptop's hello and beats in, answers and counters out.

The route is this process's connection to the supervisor: however the process ends, the kernel closes it, and the
route is gone. A laptop that falls silent has its SSH connection ended here, which fails what was sent to it at once,
so that HAProxy can send it to the original pods instead.
"""

import json
import os
import select
import socket
import sys
import time

from ktpy.wire.pod import MAX_LINE_BYTES
from ktpy_agent.session import end_connection
from ktpy_agent.settings import Settings

_LAST_WORDS_S = 1.0
"""A laptop has this long to read why it was refused, and to hang up."""


def run(settings: Settings, session: str) -> int:
    """Live while the laptop beats and the supervisor holds the route, then end this SSH connection."""
    sshd_pid = os.getppid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        try:
            control.connect(str(settings.control))
            control.sendall(json.dumps({"session": session}).encode() + b"\n")
            os.set_blocking(sys.stdout.fileno(), False)  # a laptop that does not read must not hold us
            carry(sys.stdin.fileno(), sys.stdout.fileno(), control, settings.route_silence_s)
        except OSError as exc:
            sys.stderr.write(f"ktpy-agent route ends: {exc}\n")
        finally:
            control.close()
            end_connection(sshd_pid)
    return 0


def carry(laptop_in: int, laptop_out: int, control: socket.socket, silence_s: float) -> None:
    """Pass the first line on to the supervisor, and everything back; return at silence or at either end.

    The lines after the first are beats: they only have to come. OSError when one side does not take what it is sent.
    """
    hello = b""
    is_told = False
    deadline_s = time.monotonic() + silence_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        readable, _, _ = select.select([laptop_in, control.fileno()], [], [], left_s)
        if control.fileno() in readable:
            answer = control.recv(65536)
            if not answer:
                _await_hang_up(laptop_in)
                return
            os.write(laptop_out, answer)
        if laptop_in in readable:
            data = os.read(laptop_in, 65536)
            if not data:
                return
            deadline_s = time.monotonic() + silence_s
            if not is_told:
                hello += data
                is_told = b"\n" in hello or len(hello) > MAX_LINE_BYTES
                if is_told:
                    control.sendall(hello.partition(b"\n")[0][:MAX_LINE_BYTES] + b"\n")


def _await_hang_up(laptop_in: int) -> None:
    deadline_s = time.monotonic() + _LAST_WORDS_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        if select.select([laptop_in], [], [], left_s)[0] and not os.read(laptop_in, 65536):
            return
