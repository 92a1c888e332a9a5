"""HTTP/1.1 (RFC 9112) to one server, over connections that are kept: requests with an answer, and answers without end.

It has what the API server asks of a client. A general library takes longer to be imported than the first answer takes.
"""

import asyncio
import http.client
import socket
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Final, SupportsIndex

from ktpy.kube.endpoint import HEAD_LIMIT_BYTES, parse_response

Headers = Sequence[tuple[str, str]]
Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]
"""`ApiEndpoint.connect`, or what does the same."""

IDLE_S: Final = 15.0
"""A connection that nobody uses for so long is closed, before a server or something on the way gives it up."""
_PIECE_BYTES: Final = 64 << 10
_REPEATABLE: Final = frozenset({"GET", "PUT", "DELETE"})
"""What may be sent again where a kept connection ends without an answer (RFC 9110, section 9.2.2)."""
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0x10), 15),  # on macOS it is called TCP_KEEPALIVE
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Probes after 15 s, then every 5 s, three times: what waits on a link that went silent ends after half a minute."""


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the kernel end a connection whose other side has gone while nothing is sent (tcp(7))."""
    connected = transport.get_extra_info("socket")
    for level, option, value in _KEEPALIVE:
        connected.setsockopt(level, option, value)


class NoHttp(ValueError):
    """What answers speaks no HTTP/1.1."""


class HttpPool:
    """An HttpPool opens connections as they are needed, and keeps them."""

    def __init__(self, connect: Connect, host_header: str) -> None:
        self._connect, self._host_header = connect, host_header
        self.was_reached = False
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Timeout] = set()
        self._resets = 0

    @property
    def in_use(self) -> int:
        """How many connections carry a request now."""
        return len(self._open) - len(self._idle)

    async def request(self, method: str, target: str, headers: Headers, body: bytes | None = None) -> "HttpAnswer":
        """Send a request; return its answer, which has to be entered, once its head has come.

        Raises OSError and EOFError for a connection that breaks, also by `reset`; NoHttp; what `connect` raises.
        """
        length = [] if body is None else [("Content-Length", str(len(body)))]
        lines = [f"{name}: {value}" for name, value in (("Host", self._host_header), *headers, *length)]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
        if head.count("\n") != len(lines) + 2:
            raise ValueError("a header has a line break")
        resets = self._resets
        while True:
            is_kept = (kept := self._taken()) is not None
            connection = kept or await self._opened()
            try:
                return HttpAnswer(self, connection, await connection.ask(head.encode() + (body or b"")))
            except (OSError, EOFError):
                self.close(connection)
                if not is_kept or method not in _REPEATABLE or self._resets != resets:
                    raise
            except BaseException:
                self.close(connection)
                raise

    def _taken(self) -> "_Connection | None":
        while self._idle:
            if (connection := self._idle.pop()).take():
                return connection
            self.close(connection)
        return None

    async def _opened(self) -> "_Connection":
        reader = _Reader(HEAD_LIMIT_BYTES)
        async with asyncio.timeout(None) as limit:
            self._opening.add(limit)
            try:
                transport, _ = await self._connect(lambda: asyncio.StreamReaderProtocol(reader))
            finally:
                self._opening.discard(limit)
        self.was_reached = True
        keep_alive(transport)
        connection = _Connection(transport, reader)
        self._open.add(connection)
        return connection

    def keep(self, connection: "_Connection") -> None:
        """Take back a connection whose answer has been read."""
        if connection in self._open:  # `reset` may have closed it
            self._idle.append(connection)
            connection.let_go(lambda: self._expire(connection))

    def _expire(self, connection: "_Connection") -> None:
        self._idle.remove(connection)
        self.close(connection)

    def close(self, connection: "_Connection") -> None:
        """Close a connection whatever state it is in."""
        self._open.discard(connection)
        connection.close()

    def reset(self) -> None:
        """End every connection, and those that are being opened; who waits for one gets an error at once."""
        self._resets += 1
        while self._opening:
            self._opening.pop().reschedule(0)
        self._idle.clear()
        while self._open:
            self._open.pop().close()


class _Reader(asyncio.StreamReader):
    """A _Reader knows whether anything has come that nothing had been asked for, such as a last word before the end."""

    is_idle = is_disturbed = False

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.is_disturbed |= self.is_idle
        super().feed_data(data)

    def feed_eof(self) -> None:
        self.is_disturbed |= self.is_idle
        super().feed_eof()


class _Connection:
    """A _Connection carries one request at a time."""

    def __init__(self, transport: asyncio.Transport, reader: _Reader) -> None:
        self._transport, self.reader = transport, reader
        self._expiry: asyncio.TimerHandle | None = None

    async def ask(self, request: bytes) -> http.client.HTTPResponse:
        """Send a request; return the head of its answer."""
        self._transport.write(request)
        try:
            response = parse_response(await self.reader.readuntil(b"\r\n\r\n"))
        except (http.client.HTTPException, asyncio.LimitOverrunError, ValueError) as exc:
            raise NoHttp(str(exc)) from exc
        assert response is not None  # noqa: S101 - the head is complete
        return response

    def let_go(self, expire: Callable[[], None]) -> None:
        """Have nothing to do for now; `expire` is called when that lasts."""
        self.reader.is_idle = True
        self._expiry = asyncio.get_running_loop().call_later(IDLE_S, expire)

    def take(self) -> bool:
        """Return whether the connection can carry another request: the server has not closed it."""
        self._cancel_expiry()
        self.reader.is_idle = False
        return not (self._transport.is_closing() or self.reader.is_disturbed or self.reader.exception())

    def close(self) -> None:
        """Close at once: neither TLS nor anything else waits for a last word of the other end."""
        self._cancel_expiry()
        self._transport.abort()

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


class HttpAnswer:
    """An HttpAnswer is read within `async with`. Its connection is kept if all of it has been read."""

    def __init__(self, pool: HttpPool, connection: _Connection, head: http.client.HTTPResponse) -> None:
        self.status, self.headers = head.status, head.headers
        self._pool, self._connection, self._head = pool, connection, head
        self._left_bytes = head.length
        self._is_over = False
        is_gzip = head.headers.get("Content-Encoding", "").lower() == "gzip"
        self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if is_gzip else None

    async def __aenter__(self) -> "HttpAnswer":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._is_over and not self._head.will_close:
            self._pool.keep(self._connection)
        else:
            self._pool.close(self._connection)

    async def read(self) -> bytes:
        """Return the body. Raises OSError, EOFError, NoHttp."""
        pieces = []
        while piece := await self._piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def lines(self, silence_s: float) -> AsyncGenerator[bytes, None]:
        """Yield the body's lines as they come. Raises what `read` does, and TimeoutError after so long without any."""
        begun = b""
        while True:
            async with asyncio.timeout(silence_s):
                piece = await self._piece()
            if not piece:
                break
            *whole, begun = (begun + piece).split(b"\n")
            for line in whole:
                yield line
        if begun:
            yield begun

    async def _piece(self) -> bytes:
        """Return the next part of the body; nothing at its end."""
        piece = b""
        while not piece and not self._is_over:
            try:
                piece = await (self._chunk() if self._head.chunked else self._part())
                self._is_over = not piece
                if self._gzip is not None:
                    piece = self._gzip.decompress(piece)
            except (ValueError, asyncio.LimitOverrunError, zlib.error) as exc:
                raise NoHttp(f"the body cannot be read: {exc}") from exc
        return piece

    async def _part(self) -> bytes:
        """Return a part of a body of known length, or of one that ends with the connection."""
        if self._left_bytes == 0:
            return b""
        limit = _PIECE_BYTES if self._left_bytes is None else min(self._left_bytes, _PIECE_BYTES)
        piece = await self._connection.reader.read(limit)
        if self._left_bytes is not None:
            if not piece:
                raise asyncio.IncompleteReadError(piece, self._left_bytes)
            self._left_bytes -= len(piece)
        return piece

    async def _chunk(self) -> bytes:
        """Return a chunk (RFC 9112, section 7.1)."""
        reader = self._connection.reader
        size = int((await reader.readuntil(b"\n")).partition(b";")[0], 16)
        if size:
            return (await reader.readexactly(size + 2))[:-2]
        while (await reader.readuntil(b"\n")).strip():
            pass  # trailers
        return b""
