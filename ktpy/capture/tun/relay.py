"""The relay accepts the apps' connections and splices each to its far end.

The far end is dialled first (see `ktpy.packet.flow_table`), and is not read until the app's connection is accepted.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from ktpy.capture.spec import Traffic
from ktpy.link.splice import End

CONGESTION_CONTROL: Final = b"reno"
"""Nothing is lost between acceptor and app, where only the TUN is. A sender that estimates the bandwidth (bbr) takes
each turn of the event loop for congestion, and slows down. Every kernel has reno."""

BACKLOG: Final = 4096

Dial = Callable[[Callable[[], asyncio.Protocol], str, int], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]
"""A Dial connects to an address and port in the cluster, as `loop.create_connection` does.

Raises ConnectionRefusedError when the port is closed, TimeoutError or an OSError with EHOSTUNREACH or ENETUNREACH
when nobody answers, and another OSError when the link itself fails.
"""


class TunAddress(NamedTuple):
    """A TunAddress holds the TUN's addresses of one family."""

    own: str
    peer: str
    """Every relayed connection seems to come from this stand-in peer."""


class FarEnd(End):
    """A FarEnd is the end in the cluster."""

    __slots__ = ("deadline_s", "port", "relay")

    def __init__(self, relay: "Relay", port: int) -> None:
        super().__init__()
        self.relay = relay
        self.port = port
        """The app's connection will come from this stand-in port."""
        self.deadline_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.relay.traffic.received_bytes += len(data)
        self._write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.other is not None and self.other.lost:
            self.relay.finished(self)


class NearEnd(End):
    """A NearEnd is the end at the app, a connection that the acceptor took."""

    __slots__ = ("relay",)

    def __init__(self, relay: "Relay") -> None:
        super().__init__()
        self.relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        far = self.relay.claim(transport.get_extra_info("peername"))
        if far is None:
            self.end(ConnectionAbortedError("not one of our flows"))
            return
        self.join(far)

    def data_received(self, data: bytes) -> None:
        self.relay.traffic.sent_bytes += len(data)
        self._write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if isinstance(self.other, FarEnd) and self.other.lost:
            self.relay.finished(self.other)


class Relay:
    """A Relay accepts the connections that the flow table turned round, and splices each to its far end."""

    def __init__(
        self, addresses: Iterable[TunAddress], on_finished: Callable[[int], None], *, accept_timeout_s: float = 10.0
    ) -> None:
        """`on_finished` is called with a stand-in port when both of its ends are gone."""
        self.traffic = Traffic()
        self._addresses = list(addresses)
        self._peers = {address.peer for address in self._addresses}
        self._on_finished = on_finished
        self._accept_timeout_s = accept_timeout_s
        self._servers: list[asyncio.Server] = []
        self._ends: dict[int, FarEnd] = {}
        self._expected: dict[int, FarEnd] = {}

    async def listen(self, acceptors: Iterable[socket.socket] = ()) -> list[int]:
        """Listen on a free port of each of the TUN's own addresses; return the ports in the order of the addresses.

        `acceptors` are bound to them already, in another network namespace.
        """
        loop = asyncio.get_running_loop()
        bound = list(acceptors)
        for place, address in enumerate(self._addresses):
            where = {"sock": bound[place]} if bound else {"host": address.own, "port": 0}
            server = await loop.create_server(lambda: NearEnd(self), backlog=BACKLOG, **where)
            for listening in server.sockets:  # what is accepted inherits it
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_CONTROL)
            self._servers.append(server)
        return [server.sockets[0].getsockname()[1] for server in self._servers]

    def expect(self, far: FarEnd, now_s: float) -> None:
        """Expect the app's connection, whose SYN is about to be let through, from the port of `far`."""
        far.deadline_s = now_s + self._accept_timeout_s
        self._expected[far.port] = self._ends[far.port] = far

    def claim(self, peername: tuple[str, int] | None) -> FarEnd | None:
        """Return the far end that waits for the connection from `peername`, None when that is no flow of ours."""
        if peername is None or peername[0] not in self._peers:
            return None
        return self._expected.pop(peername[1], None)

    def expire(self, now_s: float) -> None:
        """Abort far ends whose app never completed its handshake. Call this about once a second."""
        for far in list(self._expected.values()):  # in order of their deadlines
            if now_s < far.deadline_s:
                return
            self.abort(far.port)

    def abort(self, port: int) -> None:
        """Reset both ends of the connection that `port` stands for, if there still is one."""
        far = self._ends.get(port)
        if far is None:
            return
        aborted = ConnectionAbortedError("given up")
        far.end(aborted)
        if far.other is not None:
            far.other.end(aborted)
        elif self._expected.pop(port, None):
            self.finished(far)

    def finished(self, far: FarEnd) -> None:
        """Forget the connection, both of whose ends are gone."""
        if self._ends.pop(far.port, None) is not None:
            self._on_finished(far.port)

    def abort_all(self) -> None:
        """Reset every connection, and from now on each that is accepted."""
        for port in list(self._ends):
            self.abort(port)

    def close(self) -> None:
        """Stop accepting. The connections that `abort_all` reset must be gone.

        asyncio neither hands over nor closes a connection that it has just accepted when its server is closed.
        """
        for server in self._servers:
            server.close()
