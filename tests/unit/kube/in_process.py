"""An API server without a socket: a client of its URL calls it in the same process.

It stands where `ktpy.kube.http1` does, below `ktpy.kube.connections`: what a client sends is rendered as always, and
other tasks run before and after each request, as they do while it is on its way. What is about sockets, TLS or
proxies is tested with real ones, see `over_http` and tests/unit/kube.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPMessage
from itertools import count
from typing import cast
from urllib.parse import parse_qsl, unquote, urlsplit

from aiohttp import web
from multidict import CIMultiDict

from ktpy.kube import connections
from ktpy.kube.http1 import Connect, Headers, HttpAnswer, HttpPool


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


class _Pool(HttpPool):
    """A _Pool calls the handler of a server that is in process."""

    def __init__(self, connect: Connect, host_header: str) -> None:
        super().__init__(connect, host_header)
        self._handler = _servers.get(f"http://{host_header}")
        self._answers: list[_Answer] = []

    async def request(self, method: str, target: str, headers: Headers, body: bytes | None = None) -> HttpAnswer:
        if self._handler is None:
            return await super().request(method, target, headers, body)
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.was_reached = True
        await asyncio.sleep(0)
        asked = Request(method, unquote(parts.path), query, CIMultiDict(headers), (body or b"").decode())
        answer = _Answer(await self._handler(asked))
        await asyncio.sleep(0)
        self._answers.append(answer)
        return cast(HttpAnswer, answer)

    def reset(self) -> None:
        super().reset()
        for answer in self._answers:
            answer.close()


class _Answer:
    """An _Answer is to the client what an HttpAnswer is."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = HTTPMessage()
        for name, value in reply.headers.items():
            self.headers[name] = value
        self._body = reply.body
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
        return b"".join([line + b"\n" async for line in self.lines(None)])

    async def lines(self, silence_s: float | None) -> AsyncGenerator[bytes, None]:
        if isinstance(self._body, bytes):
            for line in self._body.splitlines():
                yield line
            return
        closed = asyncio.ensure_future(self._is_closed.wait())
        coming: asyncio.Future[bytes] | None = None
        try:
            with suppress(StopAsyncIteration):
                while True:
                    coming = asyncio.ensure_future(anext(self._body))
                    await asyncio.wait((coming, closed), timeout=silence_s, return_when=asyncio.FIRST_COMPLETED)
                    if closed.done():
                        raise EOFError
                    if not coming.done():
                        raise TimeoutError
                    yield coming.result().rstrip(b"\n")
        finally:
            closed.cancel()
            if coming:
                coming.cancel()


vars(connections)["HttpPool"] = _Pool
