"""A dev container's agent behind a real OpenSSH server on loopback, and a cable to it that can be cut."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from ktpy_agent.dev import policy

from ktpy.aio.background_task import background_task
from ktpy.aio.retry import Backoff
from ktpy.errors import LinkLost
from ktpy.link.connection import AgentConnection
from ktpy.link.dial_policy import DialWithin
from ktpy.link.session import SHADOW_SESSION
from ktpy.link.uplink import AgentPod, Uplink
from ktpy.wire.session import AgentHello
from tests.component.agent.pod import AGENT_IMAGE
from tests.component.link.conftest import running
from tests.component.link.shadow import HELLO
from tests.component.link.sshd import Sshd
from tests.kit.waiting import until
from tests.lab.processes import wait_until

AGENT = f"""
import json, os, sys
sys.path += [{str(AGENT_IMAGE)!r}, {str(AGENT_IMAGE.parent)!r}]
from pathlib import Path
from ktpy.wire.dev import Exec
from ktpy_agent import dev, dev_held
asked = Exec.parse(os.environ.get("SSH_ORIGINAL_COMMAND", ""))
if asked:
    if os.path.exists("patience_s"):
        dev_held.run.__defaults__ = (float(Path("patience_s").read_text()),)
    sys.exit(dev.execute(asked, Path("."), Path("/proc/self/environ")))
print(json.dumps({HELLO!r} | {{"holds": True, "flows": os.path.abspath("flows")}}), flush=True)
while os.read(0, 100):
    pass
"""
RELAY = f"""
import sys
sys.path += [{str(AGENT_IMAGE)!r}, {str(AGENT_IMAGE.parent)!r}]
from pathlib import Path
from ktpy_agent import flow_relay
flow_relay.FlowRelay(flow_relay.listen(Path("flows")), Path("register")).serve()
"""
Hold = Callable[[AgentConnection[AgentHello]], Awaitable[LinkLost | None]]


def never() -> Iterator[int]:
    while True:
        yield 1 << 40


class Cable:
    """A Cable leads to sshd. It is cut when so many bytes have passed, either way."""

    def __init__(self, port: int, cuts: Iterator[int]) -> None:
        self._port, self._cuts = port, cuts
        self._left_bytes = next(cuts)
        self._ends: set[asyncio.StreamWriter] = set()
        self.times = self.led = 0
        self.is_out = False

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_out:
            writer.close()
            return
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends |= {writer, their_writer}
        self.led += 1
        await asyncio.gather(self._pass(reader, their_writer), self._pass(their_reader, writer))
        self.led -= 1

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data[: self._left_bytes])
                self._left_bytes -= len(data)
                if self._left_bytes <= 0:
                    self.cut()
                    return
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def unplug(self) -> None:
        """Cut it, and let nothing pass until `is_out` is taken away."""
        self.is_out = True
        self.cut()

    def cut(self) -> None:
        """Say nothing to either end but that it is over."""
        self.times += 1
        self._left_bytes = next(self._cuts)
        for end in self._ends:
            end.close()
        self._ends.clear()


@pytest.fixture
def dev_pod(tmp_path: Path) -> Iterator[Sshd]:
    with running(tmp_path, AGENT, policy(tmp_path / "flows")) as server:
        server.install(AGENT, "restrict,port-forwarding,pty")
        yield server


@contextmanager
def relay(sshd: Sshd) -> Iterator[None]:
    """Run what holds connections that outlive their link, as the agent does once it is asked for one."""
    with subprocess.Popen([sys.executable, "-c", RELAY], cwd=sshd.directory) as process:
        wait_until((sshd.directory / "flows").exists, 60, "the relay")
        try:
            yield
        finally:
            process.kill()


@asynccontextmanager
async def uplink_over(
    sshd: Sshd, cuts: Iterator[int], hold: Hold = AgentConnection.wait_closed
) -> AsyncIterator[tuple[Uplink[AgentHello], Cable]]:
    cable = Cable(sshd.port, cuts)
    server = await asyncio.start_server(cable.lead, "127.0.0.1", 0)
    place = replace(sshd.place, port=server.sockets[0].getsockname()[1])

    async def find_pod() -> AgentPod:
        async def unreadable() -> None: ...

        return AgentPod("pod", asyncio.get_running_loop(), unreadable, "", place)

    async def may_return() -> bool:
        return True

    policy = DialWithin(Backoff(0.01, 0.05), Backoff(0.01, 0.05), 30, may_return)
    uplink = Uplink(find_pod, sshd.key, SHADOW_SESSION, policy, hold=hold)
    try:
        async with asyncio.timeout(60), background_task(uplink.run(), "uplink"):
            yield uplink, cable
    finally:
        uplink.close()
        server.close()
        cable.unplug()
        await until(lambda: not cable.led, "the cable's ends")
