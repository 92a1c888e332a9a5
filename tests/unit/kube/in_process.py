"""An API server without a socket: a client of its URL calls it in the same process.

It stands where aiohttp's session does, below `ktpy.kube.connections`: what a client sends is rendered as always, and
other tasks run before and after each request, as they do while it is on its way. What is about sockets, TLS or
proxies is tested with real ones, see `over_http` and tests/unit/kube.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from ktpy.kube.kubernetes_compat import RESTClientObject


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Reply:
    body: bytes | AsyncGenerator[bytes, None]
    """All of it, or lines as they come."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Reply]]
_servers: dict[str, Handler] = {}
_numbers = count(1)


@contextmanager
def in_process(handler: Handler) -> Iterator[str]:
    """Answer the clients of a URL, on whose port nobody listens."""
    number = next(_numbers)
    url = f"http://127.1.{number >> 8}.{number & 255}:9"
    _servers[url] = handler
    try:
        yield url
    finally:
        del _servers[url]


async def over_http(handler: Handler, asked: web.Request) -> web.StreamResponse:
    """Answer one that comes over a socket."""
    request = Request(asked.method, asked.path, asked.query, asked.headers.copy(), await asked.text())
    reply = await handler(request)
    if isinstance(reply.body, bytes):
        return web.Response(body=reply.body, status=reply.status, headers=reply.headers)
    response = web.StreamResponse()
    await response.prepare(asked)
    async for line in reply.body:
        await response.write(line)
    return response


class _Session:
    """A _Session is to the client what aiohttp's session is."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._answers: list[_Answer] = []

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        data: str = "",
        **_: Any,
    ) -> "_Answer":
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        await asyncio.sleep(0)
        async with asyncio.timeout(timeout.total):
            reply = await self._handler(Request(method, unquote(parts.path), query, headers, data or ""))
        await asyncio.sleep(0)
        answer = _Answer(reply, timeout)
        self._answers.append(answer)
        return answer

    async def close(self) -> None:
        for answer in self._answers:
            answer.close()


class _Answer:
    """An _Answer is to the client what aiohttp's response is."""

    def __init__(self, reply: Reply, timeout: aiohttp.ClientTimeout) -> None:
        self.status, self.reason = reply.status, ""
        self.headers = CIMultiDict(reply.headers)
        self._body = reply.body
        self._timeout = timeout
        self._is_closed = asyncio.Event()

    async def __aenter__(self) -> "_Answer":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._is_closed.set()

    async def read(self) -> bytes:
        if isinstance(self._body, bytes):
            return self._body
        async with asyncio.timeout(self._timeout.total):
            return b"".join([line async for line in self.content])

    @property
    def content(self) -> AsyncIterator[bytes]:
        return self._lines(self._body)

    async def _lines(self, body: bytes | AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        if isinstance(body, bytes):
            for line in body.splitlines(keepends=True):
                yield line
            return
        closed = asyncio.ensure_future(self._is_closed.wait())
        coming: asyncio.Future[bytes] | None = None
        try:
            with suppress(StopAsyncIteration):
                while True:
                    coming = asyncio.ensure_future(anext(body))
                    await asyncio.wait(
                        (coming, closed), timeout=self._timeout.sock_read, return_when=asyncio.FIRST_COMPLETED
                    )
                    if closed.done():
                        raise aiohttp.ClientConnectionError("Connection closed")
                    if not coming.done():
                        raise aiohttp.SocketTimeoutError("Timeout on reading data from socket")
                    yield coming.result()
        finally:
            closed.cancel()
            if coming:
                coming.cancel()


_over_sockets = RESTClientObject._create_pool_manager


def _create_pool_manager(connections: Any) -> Any:
    handler = _servers.get(connections.configuration.host)
    return _Session(handler) if handler else _over_sockets(connections)


RESTClientObject._create_pool_manager = _create_pool_manager
