"""A real debugger, debugpy, is attached to a program of the real agent's through a port as `dev debug` forwards it."""

import asyncio
import os
import socket
import sys
from pathlib import Path

from ktpy.link.held_program import HeldProgram
from ktpy.sessions.dev_ports import forwarded, listening
from ktpy.sessions.options import Publish
from ktpy.sock_diag import listeners, open_sock_diag
from ktpy.wire.dev import Exec
from tests.component.link.dev_pod import dev_pod, never, uplink_over
from tests.component.link.sshd import Sshd
from tests.component.link.stdio import typed
from tests.kit.debug_adapter import Debugger
from tests.kit.ports import free_port
from tests.kit.waiting import until

__all__ = ["dev_pod", "typed"]

PROGRAM = "def sold(number):\n    total = 7 * number\n    return total\n\n\nraise SystemExit(sold(2))\n"
BREAKPOINT = 3


def debug(port: int, program: Path) -> str:
    """Attach, go on to the breakpoint, and from there to the end; what the total was."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        debugger = Debugger(connection)
        debugger.attach(str(program), BREAKPOINT)
        total = debugger.variables_at_stop()["total"]
        debugger.go_on()
        return total


async def test_it_stops_at_a_breakpoint_and_ends_with_its_own_code(dev_pod: Sshd, typed: int, tmp_path: Path) -> None:
    os.close(typed)
    program, port = tmp_path / "till.py", free_port()
    program.write_text(PROGRAM)
    words = (sys.executable, "-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client", str(program))
    with listening([Publish(0, port)], "--port") as ports, open_sock_diag() as kernel:
        async with uplink_over(dev_pod, never()) as (uplink, _), forwarded(ports, uplink):
            asked = Exec(words, folder="/", key="a1")
            running = asyncio.create_task(HeldProgram(asked, lambda _: None).run(uplink))
            await until(lambda: bool(listeners(kernel, socket.AF_INET, port)) or running.done(), "debugpy")
            assert await asyncio.to_thread(debug, ports[0][1].getsockname()[1], program) == "14"
            assert await running == 14
