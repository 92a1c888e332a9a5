"""The proxy's loopback port: whose connection it is, which protocol it speaks by its first byte, and where it goes."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ktpy.capture.proxy.associations import Associations
from ktpy.capture.proxy.counters import ProxyCounters
from ktpy.capture.proxy.destination import Destination, DialFailure, Kind
from ktpy.capture.proxy.dialler import Dialler
from ktpy.capture.proxy.http_proxy import HEAD_TIMEOUT_S, HttpClient
from ktpy.capture.proxy.peer import owner_of
from ktpy.capture.proxy.socks import SOCKS4, SOCKS5, SocksError, SocksHandshake, associated
from ktpy.capture.proxy.stream import Stream
from ktpy.capture.spec import DatagramWay, Traffic
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.wire.datagram import Frame

logger = logging.getLogger(__name__)

BACKLOG: Final = 1024


@dataclass(slots=True)
class ProxyServer:
    """A ProxyServer serves the clients of one listening socket, until `aclose`."""

    listener: socket.socket
    dialler: Dialler
    login: tuple[str, str] | None
    pac: Callable[[], str]
    counters: ProxyCounters = field(default_factory=ProxyCounters)
    traffic: Traffic = field(default_factory=Traffic)
    datagrams: DatagramWay | None = None
    """Where clients cannot be told apart by the kernel none are carried, for nothing else would keep others off."""
    _server: asyncio.Server | None = None
    _associations: Associations | None = None
    _clients: dict[Stream, "asyncio.Task[None] | None"] = field(default_factory=dict)
    """With the task that speaks with each, as long as its connection is not spliced."""

    async def wait_closed(self) -> None:
        """Accept connections once names are known; those that came before have waited. Serve until cancelled."""
        await asyncio.shield(self.dialler.names)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make_client, sock=self.listener, backlog=BACKLOG)
        await asyncio.Event().wait()

    @property
    def open_flows(self) -> int:
        return len(self._clients)

    def __post_init__(self) -> None:
        if self.datagrams and self.login is None:
            self._associations = Associations(self.datagrams, self.dialler, self.counters)

    @property
    def datagram_flows(self) -> int:
        return self._associations.open_flows if self._associations else 0

    def deliver(self, frames: Iterable[Frame]) -> None:
        """Take what the agent sends."""
        if self._associations:
            self._associations.deliver(frames)

    def counter_readers(self) -> CounterReaders:
        return {"proxy": lambda: numbers(self.counters) | numbers(self.dialler.counters)}

    async def aclose(self) -> None:
        """Reset every connection, and close the port."""
        if self._server:
            self._server.close()
        self.listener.close()
        tasks = [task for task in self._clients.values() if task]
        ended = ConnectionAbortedError("the session ends")
        for client in list(self._clients):
            if client.other:
                client.other.end(ended)
            client.end(ended)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _make_client(self) -> "_ProxyClient":
        return _ProxyClient(self)

    def begin(self, client: Stream) -> None:
        """Speak with a client that has connected, if it may use the proxy."""
        if self.login is None and not _is_own(client):
            self.counters.foreign += 1
            client.end(ConnectionAbortedError("of another user"))
            return
        self._clients[client] = asyncio.create_task(self._serve(client), name="proxy client")

    def forget(self, client: Stream) -> None:
        """Forget a client whose connection has ended, and what is done for it."""
        if task := self._clients.pop(client, None):
            task.cancel()

    async def _serve(self, client: Stream) -> None:
        try:
            far = await self._handshake(client)
        except (ConnectionError, TimeoutError) as error:
            logger.debug("a client of the proxy: %s", error)
            client.end(error if isinstance(error, ConnectionError) else None)
            return
        except Exception as error:
            logger.debug("a client of the proxy failed", exc_info=error)
            client.end(ConnectionAbortedError(str(error)))
            return
        if far is None:
            client.end(None)
            return
        if client in self._clients:
            self._clients[client] = None
        client.splice(far)

    async def _handshake(self, client: Stream) -> Stream | None:
        """Return the far end once client and destination have to be spliced; None where all is said.

        Raises ConnectionError, and TimeoutError for a client that is slow.
        """
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                first = await client.receive()
        except TimeoutError:
            self.counters.late += 1
            raise
        client.unread(first)
        if first[:1] in (b"\x04", b"\x05"):
            return await self._socks(client, first[0])
        if first[:1].isalpha():
            return await self._http(client)
        self.counters.malformed += bool(first)
        return None

    async def _socks(self, client: Stream, version: int) -> Stream | None:
        handshake = SocksHandshake(version, self.login, has_datagrams=self._associations is not None)
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                while (destination := handshake.destination) is None:
                    data = await client.receive()
                    if not data:
                        return None
                    await client.send(handshake.receive(data))
        except TimeoutError:
            self.counters.late += 1
            raise
        except SocksError as error:
            self.counters.malformed += 1
            logger.info("a SOCKS client was refused: %s", error)
            await client.send(error.reply)
            return None
        if handshake.is_for_datagrams:
            await self._associate(client, handshake)
            return None
        self.counters.socks4 += version == SOCKS4
        self.counters.socks5 += version == SOCKS5
        try:
            far = await self._connect(destination)
        except DialFailure as failure:
            logger.info("%s", failure.sentence)
            await client.send(handshake.refused(failure.kind))
            return None
        client.write(handshake.granted())
        client.unread(handshake.rest)
        return far

    async def _associate(self, client: Stream, handshake: SocksHandshake) -> None:
        """Carry the client's datagrams until its connection ends."""
        assert self._associations is not None  # noqa: S101 - else the handshake has refused
        association = await self._associations.open()
        if association is None:
            await client.send(handshake.refused(Kind.NO_ANSWER))
            return
        try:
            await client.send(associated(association.port))
            while await client.receive():
                pass
        finally:
            association.close()

    async def _http(self, client: Stream) -> Stream | None:
        return await HttpClient(client, self._connect, self.login, self.pac, self.counters).serve()

    async def _connect(self, destination: Destination) -> Stream:
        """Connect. Raises DialFailure; whatever else it ends with, no connection is left."""
        made: list[Stream] = []

        def make() -> Stream:
            made.append(Stream(self.traffic.add_received))
            return made[-1]

        try:
            return await self.dialler.connect(make, destination)
        except BaseException:
            for far in made:
                far.end(ConnectionAbortedError("nobody waits for it any more"))
            raise


class _ProxyClient(Stream):
    """A _ProxyClient begins to be served when it has connected."""

    __slots__ = ("_proxy",)

    def __init__(self, proxy: ProxyServer) -> None:
        super().__init__(proxy.traffic.add_sent, proxy.forget)
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._proxy.begin(self)


def _is_own(client: Stream) -> bool:
    """Return whether this user has the other end. Who cannot be told is not."""
    assert client.transport is not None  # noqa: S101 - it has connected
    with suppress(OSError):
        ends = (client.transport.get_extra_info(which) for which in ("peername", "sockname"))
        return owner_of(*ends) == os.getuid()
    return False
