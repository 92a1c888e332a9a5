"""A network of the test's own: a namespace with nothing but loopback and a TUN, and a make-believe cluster.

The namespace is anonymous and entered by the test's thread alone, so it is gone with the test, however that ends. It
has no default route and no link to anywhere: what misses the TUN fails.
"""

import asyncio
import contextlib
import ctypes
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_network
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop

from ktpy.capture.tun.pump import Pump
from ktpy.capture.tun.relay import TunAddress
from ktpy.helper.protocol import TunOpened
from ktpy.helper.routes import ALIAS_PREFIX, add_routes, set_up_link
from ktpy.helper.tun import open_device

CLONE_NEWNET = 0x40000000

TUN_NAME = "ktpy0"
TUN = TunOpened(
    name=TUN_NAME,
    number=0,
    interface_index=0,
    mtu_bytes=1500,
    address4=IPv4Interface("198.18.0.1/30"),
    peer4=IPv4Address("198.18.0.2"),
    address6=IPv6Interface("fd6b:7470:79::1/126"),
    peer6=IPv6Address("fd6b:7470:79::2"),
)
ADDRESSES = [TunAddress("198.18.0.1", "198.18.0.2"), TunAddress("fd6b:7470:79::1", "fd6b:7470:79::2")]
DIAL_TIMEOUT_S = 2.5
_LIBC = ctypes.CDLL(None, use_errno=True)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The pump is tried on both event loops: they differ in how they poll, close and report errors."""
    if item.path.name == "test_pump.py":
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


def ip(*arguments: str) -> None:
    """Run `ip` in the current namespace."""
    subprocess.run(["ip", *arguments], check=True)


def new_network_namespace() -> None:
    """Move the calling thread into a network namespace of its own, in which nothing is up."""
    if _LIBC.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: these tests need root")


@pytest.fixture
def network_namespace() -> Iterator[None]:
    """The test's thread, and every thread and process it starts, in a network namespace of its own."""
    with Path("/proc/thread-self/ns/net").open() as home:
        new_network_namespace()
        try:
            ip("link", "set", "lo", "up")
            yield
        finally:
            if _LIBC.setns(home.fileno(), CLONE_NEWNET) != 0:
                pytest.exit("could not leave the test's network namespace", returncode=1)


@pytest.fixture
def tun_fd(network_namespace: None) -> Iterator[int]:
    """A TUN as the helper makes it: offloads on, both families, routes to 10.96.0.0/16 and fd96::/108."""
    fd = open_device(TUN_NAME)
    try:
        opened = set_up_link(TUN, f"{ALIAS_PREFIX}test")
        add_routes(opened.interface_index, [ip_network("10.96.0.0/16"), ip_network("fd96::/108")])
        yield fd
    finally:
        os.close(fd)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Cluster:
    """What the dialler reaches. Each (address, port) is a real TCP server on loopback, or an exception to raise."""

    dialled: list[tuple[str, int]] = field(default_factory=list)
    delay_s: float = 0.0
    is_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether the link stands."""
    _targets: dict[tuple[str, int], int | OSError] = field(default_factory=dict)
    _servers: list[asyncio.Server] = field(default_factory=list)

    async def serve(self, address: str, port: int, serve: Serve) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                try:
                    await serve(reader, writer)
                finally:
                    writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
        self._servers.append(server)
        self._targets[address, port] = server.sockets[0].getsockname()[1]

    def fail(self, address: str, port: int, error: OSError) -> None:
        self._targets[address, port] = error

    async def dial(
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        self.dialled.append((host, port))
        await asyncio.sleep(self.delay_s)
        target = self._targets.get((host, port))
        if isinstance(target, OSError):
            raise target
        if target is None:
            await asyncio.Event().wait()  # nobody ever answers
            raise AssertionError
        loop = asyncio.get_running_loop()
        return await loop.create_connection(protocol_factory, "127.0.0.1", target)

    def close(self) -> None:
        for server in self._servers:
            server.close()


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    made.is_up.set()
    yield made
    made.close()


@pytest.fixture
def flow_map() -> int | None:
    """The map of the flows that the kernel takes: none."""
    return None


@pytest_asyncio.fixture
async def pump(tun_fd: int, flow_map: int | None, cluster: Cluster) -> AsyncIterator[Pump]:
    """A running pump between the TUN and the make-believe cluster."""
    made = await Pump.start(
        tun_fd,
        ADDRESSES,
        cluster.dial,
        dial_timeout_s=DIAL_TIMEOUT_S,
        linger_s=0.5,
        until_up=cluster.is_up.wait,
        flow_map=flow_map,
    )
    yield made
    await made.aclose()
