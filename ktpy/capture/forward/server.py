"""The loopback ports of `ktpy forward`, each connection of which is one of its own from the pod."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from ktpy.capture.forward.datagrams import DatagramForwards
from ktpy.capture.forward.forwards import Forward
from ktpy.capture.spec import DatagramWay, Traffic
from ktpy.dns.forward import NoAnswerError
from ktpy.dns.lookup import ClusterLookup
from ktpy.errors import KtpyError
from ktpy.link.splice import Accepted, Answerer, Dialed
from ktpy.observe.counters import CounterReaders
from ktpy.wire.datagram import Frame

if TYPE_CHECKING:
    from ktpy.capture.tun.relay import Dial

logger = logging.getLogger(__name__)

DIAL_TIMEOUT_S: Final = 10.0
"""For each address; a link that is lost is waited for that long, too."""


class ForwardServer:
    """A ForwardServer serves forwards until `aclose`."""

    def __init__(
        self,
        forwards: Sequence[Forward],
        lookup: "asyncio.Future[ClusterLookup]",
        dial: "Dial",
        datagrams: DatagramWay | None,
    ) -> None:
        self._forwards, self._lookup, self._dial = forwards, lookup, dial
        self._datagrams = DatagramForwards(datagrams, lookup) if datagrams else None
        self._servers: list[asyncio.Server] = []
        self._open: set[_ForwardedConnection] = set()
        self._connections = self._failed = 0
        self.traffic = Traffic()

    @property
    def open_flows(self) -> int:
        return len(self._open)

    @property
    def datagram_flows(self) -> int:
        return self._datagrams.open_flows if self._datagrams else 0

    def deliver(self, frames: Iterable[Frame]) -> None:
        """Take what the agent sends."""
        if self._datagrams:
            self._datagrams.deliver(frames)

    def counter_readers(self) -> CounterReaders:
        """Count connections that were made and that failed, and datagrams for which nobody was found."""
        return {"forward": self._counted}

    def _counted(self) -> dict[str, int]:
        dropped = self._datagrams.dropped if self._datagrams else 0
        return {"connections": self._connections, "failed": self._failed, "datagrams_dropped": dropped}

    async def wait_closed(self) -> None:
        """Accept once names are known; those that came before have waited. Serve until cancelled."""
        await asyncio.shield(self._lookup)
        loop = asyncio.get_running_loop()
        for one in self._forwards:
            if one.protocol == "TCP":
                self._servers.append(await loop.create_server(partial(self._accept, one), sock=one.own))
            elif self._datagrams:
                await self._datagrams.serve(one)
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        """Reset every connection, and close the ports."""
        for server in self._servers:
            server.close()
        for one in self._forwards:
            one.own.close()
        if self._datagrams:
            self._datagrams.close()
        for flow in list(self._open):
            flow.end(ConnectionAbortedError("the session ends"))

    def _accept(self, forward: Forward) -> "_ForwardedConnection":
        return _ForwardedConnection(partial(self._connect, forward), self.traffic, self._open)

    async def _connect(self, forward: Forward, _make: object) -> "tuple[asyncio.Transport, Answerer]":
        """Try one address after the other; the first failure is the one that is told. Raises OSError."""
        first: OSError = ConnectionRefusedError("nothing is behind it")
        try:
            addresses = await forward.find(self._lookup.result())
        except (NoAnswerError, KtpyError) as error:
            addresses, first = [], ConnectionAbortedError(str(error))
        for number, address in enumerate(addresses):
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    transport, far = await self._dial(lambda: _ForwardedAnswer(self.traffic), address, forward.port)
            except OSError as error:
                first = first if number else error
            else:
                self._connections += 1
                return transport, cast(_ForwardedAnswer, far)
        self._failed += 1
        logger.info("a connection to %s port %d could not be made: %s", forward.target, forward.port, first)
        raise first


class _ForwardedConnection(Accepted):
    """A _ForwardedConnection is counted while it is open, and so is what it sends."""

    __slots__ = ("_open", "_traffic")

    def __init__(self, dial: Dialed, traffic: Traffic, open_: "set[_ForwardedConnection]") -> None:
        super().__init__(dial)
        self._traffic, self._open = traffic, open_

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open.add(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._traffic.add_sent(len(data))
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        super().connection_lost(exc)


class _ForwardedAnswer(Answerer):
    """A _ForwardedAnswer counts what comes back."""

    __slots__ = ("_traffic",)

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    def data_received(self, data: bytes) -> None:
        self._traffic.add_received(len(data))
        super().data_received(data)
