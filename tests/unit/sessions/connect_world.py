"""A cluster and a laptop in which `connect` finds nothing real: each of its parts writes down what is asked of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.capture import spec
from ktpy.capture.tun.datagrams import DatagramCounters
from ktpy.capture.tun.pump import PacketCounters
from ktpy.cluster.pods.shadow import DELETE_TIMEOUT_S
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.daemon import supervision
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import KtpyError
from ktpy.helper.protocol import LocalNetwork
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.link import keeper
from ktpy.link.channel import Link
from ktpy.link.connection import AgentConnection
from ktpy.link.keeper import KeptCounters
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.observe.events import Ended, Event, Ready
from ktpy.observe.status import DnsStatus, ProxyStatus
from ktpy.packet.flow_table import FlowCounters
from ktpy.packet.stand_ins import StandIns
from ktpy.sessions import connect, routing, shadow_uplink, tunnel
from ktpy.sessions.options import ConnectOptions
from ktpy.sessions.outages import Outages
from ktpy.wire.session import AgentHello
from ktpy.wire.version import VERSION

HELPER: Any = object()
API_ADDRESS = IPv4Address("203.0.113.1")
HOST_KEY = "ssh-ed25519 AAAA"
SERVICES = RoutedRange(ip_network("10.96.0.0/12"), "services", "ServiceCIDR")
LOCAL = RoutedRange(ip_network("192.168.7.0/24"), "pods", "pod")
"""Overlaps a network of the laptop."""
HOME = LocalNetwork(ip_network("192.168.7.0/24"), "eth0")
NEW = RoutedRange(ip_network("10.9.0.0/24"), "pods", "pod")


class World:
    """Everything that `connect` is made of. `steps` is what was done, in order; `events` is what was reported.

    Work stops at the step that `blocked_at` names, and fails at those of `failures`. `end` holds what ends the session
    once it stands: by the name of who tells of it.
    """

    def __init__(self, home: Path) -> None:
        self.caller = Caller(uid=4_000_000_000, gid=4_000_000_000, name="al", home=home)
        self.steps: list[str] = []
        self.events: list[Event] = []
        self.blocked_at: str | None = None
        self.is_reached, self.go_on = asyncio.Event(), asyncio.Event()
        self.failures: dict[str, Exception] = {}
        self.agent_version = VERSION
        self.carries_datagrams = True
        self.namespace = "shop"
        self.proxy: ProxyStatus | None = None
        self.warnings: list[str] = []
        self.has_tunnel = False
        self.pod_failure: KtpyError | None = None
        """What the API server says has become of the pod."""
        self.delete_timeout_s = 0.0
        self.not_right: list[str] = []
        """What is said of the routes after an outage."""
        self.name_servers: list[Any] = [ip_network("192.0.2.53")]
        self.local_networks = [HOME]
        self.routes_changed = asyncio.Event()
        self.newcomers: asyncio.Queue[list[RoutedRange]] = asyncio.Queue()
        self.resolver_changes: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self.end: dict[str, asyncio.Future[Any]] = {
            who: loop.create_future() for who in ("pod", "link", "helper", "TUN")
        }
        self.ready: asyncio.Future[None] = loop.create_future()

    def report(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Ready):
            self.ready.set_result(None)

    async def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.blocked_at:
            self.is_reached.set()
            await self.go_on.wait()
        if name in self.failures:
            raise self.failures[name]
        await asyncio.sleep(0)

    def note(self, name: str) -> None:
        self.steps.append(name)

    def renewed(self, who: str) -> asyncio.Future[Any]:
        """What ends the present one of several, one after the other."""
        if self.end[who].done():
            self.end[who] = asyncio.get_running_loop().create_future()
        return self.end[who]

    @asynccontextmanager
    async def session(self, options: ConnectOptions | None = None) -> AsyncIterator["asyncio.Task[Ended]"]:
        """A session, from its begin on; the task's result is what the user is told at the end."""
        self.connect = connect.Connect(options or ConnectOptions(), HELPER, self.caller, self.report)
        running = asyncio.create_task(supervision._supervise(self.connect))
        try:
            async with asyncio.timeout(300):
                yield running
        finally:
            running.cancel()
            await asyncio.wait({running})

    @property
    def control_socket(self) -> Path:
        [path] = RuntimeDirectory.of(self.caller).control_sockets()
        return path


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    with TemporaryDirectory() as home:  # pytest's own names are too long for a unix socket
        world = World(Path(home))
        furnish(world, monkeypatch)
        yield world


def furnish(world: World, monkeypatch: pytest.MonkeyPatch) -> None:

    async def load(*_: object) -> Any:
        await world.step("load kubeconfig")
        target = SimpleNamespace(server="https://a", context="lab", namespace=world.namespace)
        return SimpleNamespace(
            target=target,
            address=ApiEndpoint("a", 443),
            namespace=world.namespace,
            close=lambda: world.step("close API"),
            drop_connections=lambda: world.step("drop connections"),
            note_answer=lambda: None,
            addresses=_addresses,
        )

    async def dial(*_: object) -> Any:
        await world.step("dial")
        return Tunnel(world)

    async def prepare(_launched: object, undo: AsyncExitStack, _report: object) -> Any:
        undo.callback(world.note, "undo laptop")
        await world.step("prepare laptop")
        return Machine(world)

    async def discover(*_: object, **__: object) -> list[RoutedRange]:
        await world.step("discover ranges")
        return [SERVICES]

    async def new_pods(*_: object, **__: object) -> AsyncIterator[list[RoutedRange]]:
        while True:
            yield await world.newcomers.get()

    async def new_services(*_: object, **__: object) -> AsyncIterator[list[RoutedRange]]:
        await asyncio.get_running_loop().create_future()
        yield []

    async def warnings_for_shadow(*_: object) -> list[str]:
        return world.warnings

    for name, fake in {
        "Outages": lambda report: Outages(report, asyncio.get_running_loop().time),
        "warnings_for_shadow": warnings_for_shadow,
        "Api": SimpleNamespace(load=load),
        "feed_zone": lambda *_: world.step("feed zone"),
    }.items():
        monkeypatch.setattr(connect, name, fake)
    monkeypatch.setattr(spec, "FRONTS", dict.fromkeys(spec.FRONTS, lambda: SimpleNamespace(prepare=prepare)))
    monkeypatch.setattr(tunnel, "datagram_link", lambda *_: Datagrams(world))
    monkeypatch.setattr(tunnel, "Shadow", lambda *_, **__: Shadow(world))
    monkeypatch.setattr(routing, "discover", discover)
    monkeypatch.setattr(routing, "new_pods", new_pods)
    monkeypatch.setattr(routing, "new_services", new_services)
    monkeypatch.setattr(routing, "new_endpoints", new_endpoints)
    monkeypatch.setattr(AgentConnection, "open", dial)
    monkeypatch.setattr(keeper, "Keeper", lambda *_: Connections(world))
    monkeypatch.setattr(shadow_uplink, "PortForward", lambda *_, **__: None)


async def _addresses() -> list[IPv4Address]:
    return [API_ADDRESS]


async def new_endpoints(
    _api: object, _routed: object, queue: "asyncio.Queue[list[Any]]", **_: object
) -> AsyncIterator[list[RoutedRange]]:
    while True:
        yield [RoutedRange(ip_network(address), "services", "") for address in await queue.get()]
        queue.task_done()


class Shadow:
    job = "ktpy-connect-x"

    def __init__(self, world: World) -> None:
        self._world = world
        self.pod_labels = {"app.kubernetes.io/name": "ktpy-shadow"}

    async def create(self) -> None:
        await self._world.step("create job")

    async def supervise(self) -> None:
        await self._world.renewed("pod")

    async def pod_name(self) -> str:
        await self._world.step("wait for pod")
        return "ktpy-connect-x-y"

    async def push_deadline(self) -> None:
        await self._world.step("release deadline")

    async def host_key(self) -> str:
        return HOST_KEY

    async def failure_now(self) -> KtpyError | None:
        return self._world.pod_failure

    async def delete(self, timeout_s: float = DELETE_TIMEOUT_S) -> None:
        self._world.delete_timeout_s = timeout_s
        await self._world.step("delete job")


class Tunnel:
    host_key = HOST_KEY
    link = Link(sent_bytes=40, received_bytes=30)

    def __init__(self, world: World) -> None:
        self._world = world
        self._lost = world.renewed("link")
        world.has_tunnel = True
        self.hello = AgentHello("0.1.0", ("10.96.0.10",), (), world.agent_version, world.carries_datagrams)

    async def wait_closed(self) -> KtpyError | None:
        lost: KtpyError | None = await asyncio.shield(self._lost)
        return lost

    def lose(self, why: KtpyError) -> None:
        if not self._lost.done():
            self._lost.set_result(why)

    def close(self) -> None:
        self._world.note("close tunnel")


class Connections:
    """Stands in for a Keeper, where nobody connects."""

    counters = KeptCounters(kept=5, lost=1)

    def __init__(self, world: World) -> None:
        self._world = world

    def create_connection(self, *_: object) -> None: ...

    async def hold(self, connection: Any) -> Any:
        self._world.note("go on")
        try:
            return await connection.wait_closed()
        finally:
            self._world.note("wait for a link")

    def reset(self, why: str) -> None:
        self._world.note(f"reset: {why}")


class Datagrams:
    def __init__(self, world: World) -> None:
        self._world = world

    def lose(self, _why: object) -> None:
        pass

    async def run(self, _receive: object) -> None:
        self._world.note("carry datagrams")
        await asyncio.get_running_loop().create_future()


class Machine:
    name = "ktpy0"

    def __init__(self, world: World) -> None:
        self._world = world
        self.name_servers, self.local_networks = world.name_servers, world.local_networks
        self.is_api_outside = False
        self.stand_ins = StandIns()

    def proxy_status(self, server: ApiEndpoint) -> ProxyStatus | None:
        return self._world.proxy

    async def keep_outside(self, addresses: list[object]) -> None:
        assert addresses == [API_ADDRESS]
        self.is_api_outside = True

    async def route(self, networks: list[object]) -> None:
        assert self.is_api_outside
        await self._world.step(f"route {' '.join(map(str, networks))}")

    async def wait_routes_changed(self) -> None:
        await self._world.routes_changed.wait()
        self._world.routes_changed.clear()

    async def put_right(self, ranges: list[RoutedRange], _allowed: object) -> list[str]:
        await self._world.step(f"put right {' '.join(str(one.network) for one in ranges)}")
        return self._world.not_right

    async def start_pump(self, _uplink: object, way: object, undo: AsyncExitStack, *, dial: object) -> Any:
        await self._world.step("start pump")
        undo.callback(self._world.note, "stop pump")
        return SimpleNamespace(
            traffic=SimpleNamespace(received_bytes=3, sent_bytes=4),
            open_flows=1,
            datagram_flows=2 if way else 0,
            deliver=None,
            counter_readers=lambda: {
                "packets": lambda: numbers(PacketCounters(read_packets=5)),
                "flows": lambda: numbers(FlowCounters(admitted=1)),
                **({"datagrams": lambda: numbers(DatagramCounters(sent=7))} if way else {}),
            },
            wait_closed=lambda: self._wait("TUN"),
        )

    async def serve_names(self, *_: object, counters: CounterReaders, **__: object) -> Any:
        await self._world.step("serve names")
        counters["dns"] = lambda: {"zone": 2}
        told = DnsStatus("cluster.local", "127.18.0.1", "resolv.conf", ("svc.cluster.local",))
        return told, self._resolver_changes()

    async def _resolver_changes(self) -> AsyncIterator[str]:
        while sentence := await self._world.resolver_changes.get():
            yield sentence

    async def until_helper_gone(self) -> None:
        await self._wait("helper")

    async def _wait(self, who: str) -> None:
        await self._world.end[who]
