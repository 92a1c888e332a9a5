"""DNS over TCP (RFC 7766) sends messages after their length, many in flight on one kept connection.

The cluster's DNS is asked in this way, because the tunnel carries TCP.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, cast

from ktpy.dns.forward import NoAnswerError
from ktpy.dns.message import answers_query
from ktpy.errors import KtpyError

# The signature of loop.create_connection: the tunnel offers the same, and raises OSError or a KtpyError.
Dial = Callable[
    [Callable[[], asyncio.Protocol], str, int], Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]
]

ANSWER_WITHIN_S: Final = 4.0  # less than the 5 s after which glibc gives up
IDLE_S: Final = 10.0  # RFC 7766 section 6.2.3: seconds, not minutes
REDIAL_AFTER_S: Final = 1.0  # after a failed dial, queries fail at once for this long


def framed(message: bytes) -> bytes:
    """Return a message as it goes over TCP."""
    return len(message).to_bytes(2, "big") + message


class Frames:
    """Frames cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0

    def feed(self, data: bytes) -> None:
        del self._buffer[: self._start]
        self._start = 0
        self._buffer += data

    def __iter__(self) -> Iterator[bytes]:
        """Take out the complete messages. A caller that stops half way finds the rest the next time."""
        while len(self._buffer) >= self._start + 2:
            begin = self._start + 2
            end = begin + int.from_bytes(self._buffer[self._start : begin], "big")
            if len(self._buffer) < end:
                return
            self._start = end
            yield bytes(self._buffer[begin:end])


class StreamClient:
    """A StreamClient asks one server, at the first of its addresses that can be dialled, over one connection.

    The connection is dialled when needed and dropped when idle.
    """

    def __init__(self, dial: Dial, addresses: Sequence[tuple[str, int]]) -> None:
        self._dial = dial
        self._addresses = tuple(addresses)
        self._dialling = asyncio.Lock()
        self._connection: _ServerConnection | None = None
        self._blocked_until_s = 0.0

    async def __call__(self, packet: bytes, question: bytes, *, over_tcp: bool = True) -> bytes:
        """Exchange one message. Raises NoAnswerError."""
        del over_tcp  # it always is
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                while True:
                    connection = await self._connected()
                    kept = connection.used
                    try:
                        return await connection.ask(packet, question)
                    except ConnectionError as exc:
                        # A kept connection may have been closed by the other side just then: once more on a new one.
                        if not kept:
                            raise NoAnswerError("the name server closed the connection") from exc
        except TimeoutError as exc:
            raise NoAnswerError(f"no answer over TCP within {ANSWER_WITHIN_S:g} s") from exc

    def close(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    async def _connected(self) -> "_ServerConnection":
        async with self._dialling:
            if self._connection is not None and not self._connection.closed:
                return self._connection
            loop = asyncio.get_running_loop()
            if loop.time() < self._blocked_until_s:
                raise NoAnswerError("the name server could not be reached a moment ago")
            reason: Exception | None = None
            try:
                for host, port in self._addresses:
                    connection = _ServerConnection()
                    try:
                        await self._dial(lambda made=connection: made, host, port)  # type: ignore[misc]
                    except (OSError, KtpyError) as exc:
                        reason = exc
                    else:
                        self._connection = connection
                        return connection
            finally:
                if self._connection is None or self._connection.closed:
                    self._blocked_until_s = loop.time() + REDIAL_AFTER_S
            raise NoAnswerError("the name server cannot be reached") from reason


class _ServerConnection(asyncio.Protocol):
    """A _ServerConnection is one TCP connection with the queries in flight on it."""

    def __init__(self) -> None:
        self.used = False
        self.closed = False
        self._frames = Frames()
        self._waiting: dict[bytes, tuple[bytes, bytes, asyncio.Future[bytes]]] = {}  # by id
        self._next_id = 0
        self._received_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def ask(self, packet: bytes, question: bytes) -> bytes:
        """Send a packet under an id that is free here. Raises ConnectionError when the connection ends first."""
        if self.closed or self._transport is None:
            raise ConnectionResetError("the connection is closed")
        packet = self._free_id() + packet[2:]
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[packet[:2]] = (packet, question, reply)
        self.used = True
        self._rearm_idle_timer()
        received_bytes = self._received_bytes
        try:
            self._transport.write(framed(packet))
            return await reply
        except asyncio.CancelledError:
            if received_bytes == self._received_bytes:
                self.abort()  # no byte came while this one waited, so the connection counts as dead
            raise
        finally:
            del self._waiting[packet[:2]]

    def abort(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def _free_id(self) -> bytes:
        while True:
            self._next_id = (self._next_id + 1) & 0xFFFF
            ident = self._next_id.to_bytes(2, "big")
            if ident not in self._waiting:
                return ident

    def _rearm_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.abort)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        self._frames.feed(data)
        for message in self._frames:
            packet, question, reply = self._waiting.get(message[:2], (b"", b"", None))
            if reply is not None and not reply.done() and answers_query(message, packet, question):
                reply.set_result(message)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed = True
        if self._idle is not None:
            self._idle.cancel()
        for _, _, reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(ConnectionResetError("the connection ended"))
