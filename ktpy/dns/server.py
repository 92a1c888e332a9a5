"""The name server serves UDP and TCP (RFC 1035, RFC 7766) on sockets that the helper bound and handed over."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final, cast

from ktpy.dns.message import HEADER_BYTES, Query, failure, header_only_reply
from ktpy.dns.records import Rcode
from ktpy.dns.resolver import SplitResolver
from ktpy.dns.stream import Frames, framed

UDP_BATCH: Final = 32  # packets taken from a socket before other work has its turn
UDP_QUERY_MAX_BYTES: Final = 4096
PENDING_MAX: Final = 512  # queries that wait for somebody else; more are told SERVFAIL
CONNECTIONS_MAX: Final = 128
PIPELINE_MAX: Final = 64  # queries of one connection that wait; it is not read from until one is answered
IDLE_S: Final = 10.0

_Client = tuple[str, int] | tuple[str, int, int, int]

_log = logging.getLogger(__name__)


class Server:
    """A Server answers from a resolver on bound sockets, which it owns from then on, to whom `is_client` allows."""

    def __init__(
        self,
        resolver: SplitResolver,
        udp: Sequence[socket.socket],
        tcp: Sequence[socket.socket],
        *,
        is_client: Callable[[str], bool] = lambda _: True,
        idle_s: float = IDLE_S,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self.overloaded = 0  # queries refused because too many were waiting
        self.connections: set[_ClientConnection] = set()
        self.idle_s = idle_s
        self.connections_max = connections_max
        self._resolver = resolver
        self.is_client = is_client
        self._udp = tuple(udp)
        self._tcp = tuple(tcp)
        self._pending = 0

    async def serve(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        listeners: list[asyncio.Server] = []
        async with asyncio.TaskGroup() as tasks:
            try:
                listeners += [
                    await loop.create_server(lambda: _ClientConnection(self, tasks), sock=sock) for sock in self._tcp
                ]
                for sock in self._udp:
                    sock.setblocking(False)
                    loop.add_reader(sock, self._drain, sock, tasks)
                await loop.create_future()
            finally:
                for sock in self._udp:
                    loop.remove_reader(sock)
                    sock.close()
                for listener in listeners:
                    listener.close()
                for connection in tuple(self.connections):
                    connection.abort()

    def reply_now(self, data: bytes, *, over_tcp: bool) -> bytes | Query:
        """Do as SplitResolver.answer_now; return SERVFAIL when too many queries wait already, or for a bug."""
        try:
            reply = self._resolver.answer_now(data, over_tcp=over_tcp)
        except Exception:
            # A bug that shows with one name must not end the service of all others.
            _log.exception("a query could not be answered")
            return header_only_reply(data, Rcode.SERVFAIL)
        if isinstance(reply, Query):
            if self._pending >= PENDING_MAX:
                self.overloaded += 1
                return failure(reply, Rcode.SERVFAIL)
            self._pending += 1
        return reply

    async def reply_later(self, query: Query, *, over_tcp: bool) -> bytes:
        """Do as SplitResolver.answer, for a query that `reply_now` left over; a bug ends as SERVFAIL."""
        try:
            return await self._resolver.answer(query, over_tcp=over_tcp)
        except Exception:
            _log.exception("a query could not be answered")  # as above
            return failure(query, Rcode.SERVFAIL)
        finally:
            self._pending -= 1

    def _drain(self, sock: socket.socket, tasks: asyncio.TaskGroup) -> None:
        for _ in range(UDP_BATCH):
            try:
                data, client = sock.recvfrom(UDP_QUERY_MAX_BYTES)
            except OSError:  # nothing left, or an ICMP error of an earlier reply
                return
            if not self.is_client(client[0]):
                continue
            reply = self.reply_now(data, over_tcp=False)
            if isinstance(reply, Query):
                tasks.create_task(self._reply_to(sock, client, reply), name="dns: a query over UDP")
            elif reply:
                _send(sock, reply, client)

    async def _reply_to(self, sock: socket.socket, client: _Client, query: Query) -> None:
        _send(sock, await self.reply_later(query, over_tcp=False), client)


class _ClientConnection(asyncio.Protocol):
    """A _ClientConnection takes many queries of a TCP client and sends replies in the order they come (RFC 7766)."""

    def __init__(self, server: Server, tasks: asyncio.TaskGroup) -> None:
        self._server = server
        self._tasks = tasks
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._pending = 0
        self._congested = False
        self._ended = False  # the client has sent its last byte

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")  # None: it is gone already
        if (
            peer is None
            or not self._server.is_client(peer[0])
            or len(self._server.connections) >= self._server.connections_max
        ):
            self._transport.abort()
            return
        self._server.connections.add(self)
        self._rearm_idle_timer()

    def data_received(self, data: bytes) -> None:
        self._rearm_idle_timer()
        self._frames.feed(data)
        self._go_on()

    def eof_received(self) -> bool:
        self._ended = True
        return self._pending > 0 or self._congested  # stay until all is answered

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False
        self._go_on()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._idle is not None:
            self._idle.cancel()

    async def _reply_later(self, query: Query) -> None:
        try:
            self._write(await self._server.reply_later(query, over_tcp=True))
        finally:
            self._pending -= 1
        self._rearm_idle_timer()
        self._go_on()

    def _go_on(self) -> None:
        """Answer what has come, as far as the client reads its answers; only then read more."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        for message in self._frames:
            self._answer(message)
            if transport.is_closing():
                return
            if self._held_up:
                transport.pause_reading()
                return
        if not self._ended:
            transport.resume_reading()
        elif not self._pending:
            transport.close()

    @property
    def _held_up(self) -> bool:
        return self._congested or self._pending >= PIPELINE_MAX

    def _answer(self, message: bytes) -> None:
        if len(message) < HEADER_BYTES:
            self.abort()  # where the next message begins is unknown
            return
        reply = self._server.reply_now(message, over_tcp=True)
        if isinstance(reply, Query):
            self._pending += 1
            self._tasks.create_task(self._reply_later(reply), name="dns: a query over TCP")
        elif reply:
            self._write(reply)

    def _write(self, reply: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(framed(reply))

    def _rearm_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._server.idle_s, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self._pending:
            self._rearm_idle_timer()
        else:
            self.abort()


def _send(sock: socket.socket, reply: bytes, client: _Client) -> None:
    try:
        sock.sendto(reply, client)
    except OSError:
        return  # the client is gone, or the buffer full: UDP clients ask again
