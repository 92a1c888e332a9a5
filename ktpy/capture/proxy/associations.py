"""Datagrams of SOCKS5 clients (UDP ASSOCIATE, RFC 1928, 7): to the agent's relay for the cluster, else from here."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, cast

from ktpy.capture.proxy.counters import ProxyCounters
from ktpy.capture.proxy.destination import Address, Destination, DialFailure
from ktpy.capture.proxy.dialler import Dialler
from ktpy.capture.proxy.peer import owner_of
from ktpy.capture.proxy.socks import parse_datagram, render_datagram
from ktpy.capture.spec import DatagramWay
from ktpy.wire.datagram import DATAGRAM, FORGET, NOWHERE, Frame, mapped, unmapped

logger = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
ROUTE_TTL_S: Final = 30.0
ROUTES_KEPT: Final = 1024
WAITING_MAX: Final = 64
"""So many datagrams of an association may wait for their names; more are dropped."""
ASSOCIATIONS_MAX: Final = 1024

_Name = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Route:
    """A _Route tells where the datagrams for a host go, for a while."""

    address: Address
    is_inside: bool
    until_s: float


@dataclass(slots=True)
class Associations:
    """An Associations has those of all clients, and numbers their flows: one for each address family of each."""

    way: DatagramWay
    dialler: Dialler
    counters: ProxyCounters
    _by_flow: "dict[int, Association]" = field(default_factory=dict)
    _last_flow: int = 0
    _open: int = 0

    @property
    def open_flows(self) -> int:
        return len(self._by_flow)

    async def open(self) -> "Association | None":
        """Bind a port for a client's datagrams; None where there are too many."""
        if self._open >= ASSOCIATIONS_MAX:
            return None
        self._open += 1
        association = Association(self)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: association, local_addr=(LOOPBACK, 0))
        return association

    def deliver(self, frames: Iterable[Frame]) -> None:
        """Pass on what the agent sent. SOCKS has no word for what failed."""
        for frame in frames:
            if frame.kind == DATAGRAM and (association := self._by_flow.get(frame.flow)) is not None:
                association.answer(unmapped(frame.address), frame.port, frame.payload)

    def flow_for(self, association: "Association") -> int:
        self._last_flow = self._last_flow % 0xFFFFFFFF + 1
        self._by_flow[self._last_flow] = association
        return self._last_flow

    def close(self, flows: Iterable[int]) -> None:
        """Forget an association with these flows."""
        self._open -= 1
        for flow in flows:
            del self._by_flow[flow]
            self.way.send(Frame(FORGET, flow, 0, NOWHERE, b"").encoded())


class Association(asyncio.DatagramProtocol):
    """An Association lasts as long as the connection that it was asked for on."""

    def __init__(self, all_of_them: Associations) -> None:
        self._all = all_of_them
        self._transport: asyncio.DatagramTransport | None = None
        self._client: _Name | None = None
        self._routes: dict[str, _Route] = {}
        self._flows: dict[int, int] = {}
        """By IP version."""
        self._outside: dict[int, asyncio.DatagramTransport] = {}
        self._resolving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._socket_name()[1])

    def close(self) -> None:
        for task in self._resolving:
            task.cancel()
        self._all.close(self._flows.values())
        for transport in (self._transport, *self._outside.values()):
            if transport:
                transport.abort()
        self._flows, self._outside = {}, {}

    # --- from the client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, _exc: Exception) -> None:
        """Count what a datagram of at most 65,507 bytes has no room for, with SOCKS' header before it."""
        self._all.counters.datagrams_dropped += 1

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self._admits(addr) or (found := parse_datagram(data)) is None:
            self._all.counters.datagrams_dropped += 1
            return
        self._client = addr
        destination, payload = found
        route = self._routes.get(destination.host)
        if route is not None and time.monotonic() < route.until_s:
            self._send(route, destination.port, payload)
        elif len(self._resolving) < WAITING_MAX:
            task = asyncio.create_task(self._find_and_send(destination, payload), name="route datagram")
            self._resolving.add(task)
            task.add_done_callback(self._resolving.discard)
        else:
            self._all.counters.datagrams_dropped += 1

    def _admits(self, sender: _Name) -> bool:
        """Only sockets of this user may use it; the one that sent last is known."""
        if sender == self._client:
            return True
        with suppress(OSError):
            return owner_of(sender, self._socket_name(), socket.IPPROTO_UDP) == os.getuid()
        return False

    def _socket_name(self) -> _Name:
        assert self._transport is not None  # noqa: S101 - it is bound
        return cast(_Name, self._transport.get_extra_info("sockname"))

    async def _find_and_send(self, destination: Destination, payload: bytes) -> None:
        try:
            addresses, is_inside = await self._all.dialler.locate(destination)
        except DialFailure as failure:
            logger.info("%s", failure.sentence)
            self._all.counters.datagrams_dropped += 1
            return
        route = _Route(addresses[0], is_inside, time.monotonic() + ROUTE_TTL_S)
        if len(self._routes) >= ROUTES_KEPT:
            self._routes.clear()
        self._routes[destination.host] = route
        if not is_inside:
            await self._open_outside(route.address)
        self._send(route, destination.port, payload)

    async def _open_outside(self, address: Address) -> None:
        if address.version not in self._outside:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: _Outside(self.answer), family=family)
            if self._outside.setdefault(address.version, transport) is not transport:
                transport.abort()  # another datagram was quicker

    def _send(self, route: _Route, port: int, payload: bytes) -> None:
        self._all.counters.datagrams += 1
        if not route.is_inside:
            self._outside[route.address.version].sendto(payload, (str(route.address), port))
            return
        version = route.address.version
        if version not in self._flows:
            self._flows[version] = self._all.flow_for(self)
        frame = Frame(DATAGRAM, self._flows[version], port, mapped(route.address.packed), payload)
        if not self._all.way.send(frame.encoded()):
            self._all.counters.datagrams_dropped += 1

    # --- to the client

    def answer(self, address: bytes, port: int, payload: bytes) -> None:
        if self._client is not None and self._transport is not None:
            self._transport.sendto(render_datagram(address, port, payload), self._client)


class _Outside(asyncio.DatagramProtocol):
    """An _Outside is this machine's own socket, for what is not the cluster's."""

    def __init__(self, answer: Callable[[bytes, int, bytes], None]) -> None:
        self._answer = answer

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._answer(ip_address(addr[0].partition("%")[0]).packed, addr[1], data)
