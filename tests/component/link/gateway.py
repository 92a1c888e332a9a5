"""A route to a gateway's stand-in agent, and the local ports that it leads to."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from ktpy.errors import LinkLost
from ktpy.link.connection import AgentConnection
from ktpy.link.forwards import serve_forwards
from ktpy.link.route import OnCounters, route_command
from ktpy.link.taps import Taps
from ktpy.wire.route import RouteHello, RouteRequest, ServicePort
from tests.component.link.sshd import Sshd

P = TypeVar("P", bound=asyncio.Protocol)

AGENT = """
import json, os, sys
hello = json.loads(sys.stdin.readline())
with open("hello", "w") as seen:
    json.dump(hello, seen)
def say(message):
    print(json.dumps(message), flush=True)
say({"accepted": [{"port": r["port"], "socket": f"{os.getcwd()}/{r['port']}.sock"} for r in hello["routes"]]})
try:
    for number, line in enumerate(sys.stdin):
        say({"counters": {"80": {"requests": number, "fallbacks": 0, "is_up": True}}})
finally:  # the end of stdin, or of whoever reads stdout
    open("left", "w").close()
"""
HELLO = RouteHello("ab12", "alice", (RouteRequest(80),))


class FakeLocalPort:
    """Up and down at the test's word; what it says when it is down is what a real port would."""

    def __init__(self, number: int = 0, *, is_up: bool = True) -> None:
        self.number = number
        self.closes = False
        self.taps = Taps()
        self.up, self.down, self.settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.forwarded = asyncio.Event()
        """The laptop has heard that the socket in the pod stands, and waits for the port's end."""
        self.waited_for = asyncio.Event()
        self.turn(is_up)

    def turn(self, is_up: bool) -> None:
        on, off = (self.up, self.down) if is_up else (self.down, self.up)
        on.set()
        off.clear()
        self.settled.set()

    @property
    def is_awaited(self) -> bool:
        return not self.settled.is_set()

    def await_program(self) -> None:
        self.up.clear()
        self.settled.clear()

    async def settle(self) -> bool:
        self.waited_for.set()
        await self.settled.wait()
        return self.up.is_set()

    async def connect(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        try:
            return await asyncio.get_running_loop().create_connection(protocol_factory, "127.0.0.1", self.number)
        except OSError:
            if not self.is_awaited:
                self.turn(False)
            raise

    async def doubt(self) -> bool:
        if self.closes:
            self.turn(False)
        return self.up.is_set()

    async def wait_up(self) -> None:
        await self.up.wait()

    async def wait_down(self) -> None:
        self.forwarded.set()
        await self.down.wait()
        self.forwarded.clear()


async def open_route(
    gateway: Sshd, *, on_counters: OnCounters = lambda _: None
) -> AgentConnection[dict[ServicePort, str]]:
    command = route_command(HELLO, on_counters, beat_interval_s=0.05)
    return await AgentConnection.open(asyncio.get_running_loop(), gateway.key, command, gateway.place)


async def serve(connection: AgentConnection[dict[ServicePort, str]], local: FakeLocalPort) -> LinkLost | None:
    return await serve_forwards(connection, connection.hello, {ServicePort(80): local})


@asynccontextmanager
async def serving(gateway: Sshd, local: FakeLocalPort) -> AsyncIterator[AgentConnection[dict[ServicePort, str]]]:
    connection = await open_route(gateway)
    task = asyncio.create_task(serve(connection, local))
    yield connection
    connection.close()
    assert await task is None


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


async def connect(gateway: Sshd, local: FakeLocalPort) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect once the laptop knows of the socket: asyncssh refuses what comes together with sshd's confirmation."""
    async with asyncio.timeout(60):
        await local.forwarded.wait()
    return await asyncio.open_unix_connection(gateway.directory / "80.sock")
