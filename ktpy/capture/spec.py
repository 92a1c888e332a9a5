"""How programs' traffic gets in: the mode, the interface of what captures it, and the class of each mode."""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    import socket
    from asyncio import TaskGroup

    from ktpy.capture.forward.forwards import Forward
    from ktpy.capture.tun.relay import Dial
    from ktpy.cluster.routing.networks import Address, Network
    from ktpy.cluster.routing.ranges import RoutedRange
    from ktpy.dns.resolver import OnAlias
    from ktpy.dns.zone import Zone
    from ktpy.helper.launch import LaunchedHelper
    from ktpy.helper.protocol import LocalNetwork
    from ktpy.kube.endpoint import ApiEndpoint
    from ktpy.link.datagrams import DatagramLink
    from ktpy.link.uplink import Uplink
    from ktpy.observe.counters import CounterReaders
    from ktpy.observe.events import Report
    from ktpy.observe.status import DnsStatus, ProxyStatus
    from ktpy.packet.stand_ins import StandIns
    from ktpy.wire.datagram import Frame
    from ktpy.wire.session import AgentHello


LOOPBACK: Final = "127.0.0.1"

Launched: TypeAlias = "LaunchedHelper | socket.socket | tuple[Forward, ...]"
"""What a mode begins with, before anything is made: the helper, the port that the proxy listens on, or those that are
forwarded."""
LINK_WITHIN_S: Final = 1.0
"""A question for the cluster's DNS waits this long for a lost link. Look-ups of other names wait, too, that try search
domains first."""


def listen_on_loopback(port: int) -> "socket.socket":
    """Return a listener of the laptop; port 0 is any that is free. Raises OSError."""
    import socket

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, asyncio turns Nagle off
    try:
        if os.name == "posix":  # elsewhere it would let two programs listen
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


@dataclass(slots=True)
class Traffic:
    """Traffic counts the payload bytes from programs and to them, since the start."""

    sent_bytes: int = 0
    received_bytes: int = 0

    def add_sent(self, count: int) -> None:
        self.sent_bytes += count

    def add_received(self, count: int) -> None:
        self.received_bytes += count


class DatagramWay(Protocol):
    """A DatagramWay carries frames to the agent."""

    @property
    def is_up(self) -> bool: ...
    def send(self, frames: bytes) -> bool:
        """Send whole frames; return False when there is no room for them, or no connection."""


class Carrier(Protocol):
    """A Carrier moves what a Front captures."""

    @property
    def traffic(self) -> Traffic: ...
    @property
    def open_flows(self) -> int: ...
    @property
    def datagram_flows(self) -> int: ...
    def deliver(self, frames: "Iterable[Frame]") -> None: ...
    def counter_readers(self) -> "CounterReaders": ...
    async def wait_closed(self) -> None: ...


class Front(Protocol):
    """A Front captures traffic for the cluster. The exit stacks that it is given undo what it changes."""

    @classmethod
    async def prepare(cls, launched: Launched, undo: AsyncExitStack, report: "Report") -> "Front": ...
    @property
    def name(self) -> str: ...
    @property
    def name_servers(self) -> "list[Network]": ...
    def proxy_status(self, server: "ApiEndpoint") -> "ProxyStatus | None": ...
    @property
    def local_networks(self) -> "Sequence[LocalNetwork]":
        """The networks of this machine that are in the way of the cluster's."""

    @property
    def stand_ins(self) -> "StandIns":
        """What programs use in place of the cluster's addresses that are a local network's, too."""

    async def keep_outside(self, addresses: "Sequence[Address]") -> None: ...
    async def start_pump(
        self, uplink: "Uplink[AgentHello]", datagrams: "DatagramLink | None", undo: AsyncExitStack, *, dial: "Dial"
    ) -> Carrier: ...
    async def route(self, networks: "Sequence[Network]") -> None: ...
    async def put_right(self, ranges: "Sequence[RoutedRange]", allowed: "Sequence[Network]") -> list[str]: ...
    async def wait_routes_changed(self) -> None: ...
    async def serve_names(
        self,
        zone: "Zone",
        uplink: "Uplink[AgentHello]",
        hello: "AgentHello",
        namespace: str,
        *,
        extra_zones: Sequence[str],
        routed: "Sequence[Network]",
        work: "TaskGroup",
        counters: "CounterReaders",
        on_alias: "OnAlias",
    ) -> "tuple[DnsStatus, AsyncIterator[str]]": ...
    async def until_helper_gone(self) -> None: ...


def _tun() -> type[Front]:
    from ktpy.capture.tun.front import TunFront

    return TunFront


def _proxy() -> type[Front]:
    from ktpy.capture.proxy.front import ProxyFront

    return ProxyFront


def _namespace() -> type[Front]:
    from ktpy.capture.namespace.front import NamespaceFront

    return NamespaceFront


def _forward() -> type[Front]:
    from ktpy.capture.forward.front import ForwardFront

    return ForwardFront


FRONTS: Final[dict[str, Callable[[], type[Front]]]] = {
    "tun": _tun,
    "proxy": _proxy,
    "namespace": _namespace,
    "forward": _forward,
}
"""Each mode's function imports its class, which takes some tenths of a second."""


@dataclass(frozen=True, slots=True)
class CaptureSpec:
    """The parsed mode; raises ValueError for one that there is not."""

    mode: str = "tun"

    def __post_init__(self) -> None:
        if self.mode not in FRONTS:
            raise ValueError(f"no way to capture traffic is called {self.mode!r}; there are: {', '.join(FRONTS)}")

    def load(self) -> type[Front]:
        return FRONTS[self.mode]()
