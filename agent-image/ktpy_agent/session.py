"""The forced command is what every SSH session of a laptop runs, whatever it asked for.

It tells the laptop about the pod, and ends the SSH connection when the laptop falls silent: sshd's own ClientAlive
did not notice a frozen laptop, and a dead one must not keep the pod alive.
"""

import os
import select
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from ktpy import __version__
from ktpy.wire import resolv_conf
from ktpy.wire.session import AgentHello
from ktpy_agent.settings import Settings

TELLING_S, SENDING_S = 5.0, 0.1


def run(settings: Settings) -> int:
    """Say hello, live while the laptop beats and the supervisor lives, then end this SSH connection."""
    sshd_pid = os.getppid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as register:
        complaint = ""
        try:
            register.connect(str(settings.socket))
            sys.stdout.buffer.write(hello(Path("/etc/resolv.conf"), settings))
            sys.stdout.buffer.flush()
            await_silence(sys.stdin.fileno(), register.fileno(), settings.silence_s)
        except OSError as exc:
            complaint = f"ktpy-agent session ends: {exc}\n"
        finally:
            end_connection(sshd_pid, complaint)
    return 0


def hello(path: Path, settings: Settings) -> bytes:
    """Return the first line of every session; `path` is the pod's resolv.conf."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    resolver = resolv_conf.parse(text)
    return AgentHello(
        __version__,
        resolver.nameservers,
        resolver.search,
        datagrams=True,
        flows=str(settings.flows),
        holds=True,
        bulk_port=bulk_port(settings.bulk_port),
    ).line()


def bulk_port(path: Path) -> int:
    """Return the port that takes bulk, 0 where there is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0


def await_silence(beats: int, register: int, silence_s: float) -> None:
    """Return when nothing was read from `beats` for `silence_s`, at its end, or when the supervisor is gone."""
    deadline_s = time.monotonic() + silence_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        readable, _, _ = select.select([beats, register], [], [], left_s)
        if register in readable:
            return
        if beats in readable:
            if not os.read(beats, 4096):
                return
            deadline_s = time.monotonic() + silence_s


def end_connection(sshd_pid: int, complaint: str = "") -> None:
    """End the sshd process of this connection, and with it all its forwards, once it has told the laptop why.

    Never the supervisor, which becomes our parent when that sshd is gone already, nor anything else we were started by.
    """
    if os.getppid() != sshd_pid:
        return
    import signal  # 1 ms that the hello need not wait for

    if Path(f"/proc/{sshd_pid}/comm").read_text(encoding="utf-8").startswith("sshd"):
        if complaint:
            tell(complaint)
        os.kill(sshd_pid, signal.SIGTERM)


def tell(complaint: str) -> None:
    """Return when sshd has read it from our standard error, which is a socket, and has had a moment to send it."""
    import fcntl
    import termios

    deadline_s = time.monotonic() + TELLING_S
    with suppress(OSError):
        sys.stderr.write(complaint)
        sys.stderr.flush()
        while any(fcntl.ioctl(2, termios.TIOCOUTQ, bytes(4))) and time.monotonic() < deadline_s:
            time.sleep(SENDING_S / 10)
    time.sleep(SENDING_S)
