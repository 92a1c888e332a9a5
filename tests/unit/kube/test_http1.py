"""HTTP/1.1 against a server of bytes: what is an answer's end, which connections are kept, and what ends them."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ktpy.kube import http1
from ktpy.kube.endpoint import HEAD_LIMIT_BYTES
from ktpy.kube.http1 import HttpPool, NoHttp
from tests.kit.waiting import until

OK = b"HTTP/1.1 200 OK\r\n"
KEPT = OK + b"Content-Length: 2\r\n\r\nhi"
CLOSE, SILENCE = b"close", b"silence"
"""Among what a server sends: it closes the connection, or sends nothing more."""


class Server:
    """It answers each request with what is scripted next, piece by piece."""

    def __init__(self) -> None:
        self.port = 0
        self.script: list[tuple[bytes, ...]] = []
        self.asked: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.heard = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                self.heard.set()
                for piece in self.script.pop(0):
                    if piece == CLOSE:
                        return
                    if piece == SILENCE:
                        await reader.read()
                        return
                    writer.write(piece)
                    await asyncio.sleep(0)
        except (EOFError, ConnectionError, IndexError):
            pass
        finally:
            writer.close()

    async def connect(self, factory: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", self.port)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@pytest.fixture
async def pool(server: Server) -> AsyncIterator[HttpPool]:
    pool = HttpPool(server.connect, "api.test:6443")
    yield pool
    pool.reset()


async def read(pool: HttpPool, method: str = "GET") -> bytes:
    async with asyncio.timeout(5), await pool.request(method, "/", []) as answer:
        return await answer.read()


@pytest.mark.parametrize(
    ("pieces", "body", "is_kept"),
    [
        ((KEPT,), b"hi", True),
        ((OK + b"Content-Length: 4\r\n", b"\r\n", b"on", b"ce"), b"once", True),
        ((OK + b"Content-Length: 0\r\n\r\n",), b"", True),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b"", True),
        (
            (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", b"3;x=y\r\n", b"yo", b"u\r\n0\r\n\r\n"),
            b"hiyou",
            True,
        ),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",), b"x", True),
        ((OK + b"\r\n", b"to the ", b"end", CLOSE), b"to the end", False),
        ((OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",), b"hi", False),
    ],
)
async def test_where_an_answer_ends(
    server: Server, pool: HttpPool, pieces: tuple[bytes, ...], body: bytes, is_kept: bool
) -> None:
    server.script = [pieces, (KEPT,)]
    assert await read(pool) == body
    assert await read(pool) == b"hi"
    assert len(server.connections) == (1 if is_kept else 2)


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_what_is_compressed(server: Server, pool: HttpPool, is_chunked: bool) -> None:
    packed = gzip.compress(b"many words " * 50)
    half = len(packed) // 2
    parts, framing, end = [packed[:half], packed[half:]], b"Content-Length: %d" % len(packed), b""
    if is_chunked:
        parts, framing, end = (
            [b"%x\r\n%s\r\n" % (len(one), one) for one in parts],
            b"Transfer-Encoding: chunked",
            b"0\r\n\r\n",
        )
    server.script = [(OK + b"Content-Encoding: gzip\r\n" + framing + b"\r\n\r\n", *parts, end)]
    assert await read(pool) == b"many words " * 50


async def test_what_is_sent(server: Server, pool: HttpPool) -> None:
    server.script = [(KEPT,)]
    async with await pool.request("POST", "/a?b=c", [("X", "1"), ("X", "2")], b"{}") as answer:
        await answer.read()
    [asked] = server.asked
    assert asked == b"POST /a?b=c HTTP/1.1\r\nHost: api.test:6443\r\nX: 1\r\nX: 2\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize("value", ["a\nHost: b", "a\r\n\r\n"])
async def test_a_header_holds_no_other(server: Server, pool: HttpPool, value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        await pool.request("GET", "/", [("Authorization", value)])
    assert not server.connections


@pytest.mark.parametrize(
    "pieces",
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n",),
        (b"HTTP/2 200 OK\r\n\r\n",),
        (OK + b"X: " + b"y" * (HEAD_LIMIT_BYTES + 1),),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nwords\r\n",),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",),
    ],
)
async def test_what_is_no_http(server: Server, pool: HttpPool, pieces: tuple[bytes, ...]) -> None:
    server.script = [(*pieces, SILENCE)]
    with pytest.raises(NoHttp):
        await read(pool)
    assert pool.in_use == 0


@pytest.mark.parametrize("head", [b"Content-Length: 9\r\n\r\nhi", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhi", b""])
async def test_an_answer_that_is_cut_off(server: Server, pool: HttpPool, head: bytes) -> None:
    server.script = [(OK + head, CLOSE)]
    with pytest.raises(EOFError):
        await read(pool)
    assert pool.in_use == 0


async def test_lines_come_as_they_are_whole(server: Server, pool: HttpPool) -> None:
    server.script = [(OK + b"\r\n", b"one\ntw", b"o\n", b"three", CLOSE)]
    async with await pool.request("GET", "/", []) as answer:
        assert [line async for line in answer.lines(5)] == [b"one", b"two", b"three"]


async def test_a_line_longer_than_any_buffer(server: Server, pool: HttpPool) -> None:
    line = b"x" * (4 << 20)
    server.script = [(OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\n\r\n0\r\n\r\n" % (len(line) + 1, line),)]
    async with await pool.request("GET", "/", []) as answer:
        assert [line async for line in answer.lines(5)] == [line]


async def test_lines_that_do_not_come(server: Server, pool: HttpPool) -> None:
    server.script = [(OK + b"\r\none\n", SILENCE)]
    async with await pool.request("GET", "/", []) as answer:
        lines = answer.lines(0.05)
        assert await anext(lines) == b"one"
        with pytest.raises(TimeoutError):
            await anext(lines)
    assert pool.in_use == 0


async def test_requests_at_the_same_time_have_connections_of_their_own(server: Server, pool: HttpPool) -> None:
    server.script = [(KEPT,)] * 4
    assert list(await asyncio.gather(read(pool), read(pool))) == [b"hi", b"hi"]
    assert list(await asyncio.gather(read(pool), read(pool))) == [b"hi", b"hi"]
    assert len(server.connections) == 2


async def test_an_answer_that_nobody_reads_ends_its_connection(server: Server, pool: HttpPool) -> None:
    server.script = [(OK + b"Content-Length: 9\r\n\r\nhi",), (KEPT,)]
    async with await pool.request("GET", "/", []):
        pass
    assert await read(pool) == b"hi"
    assert len(server.connections) == 2


async def test_a_request_that_is_cancelled_ends_its_connection(server: Server, pool: HttpPool) -> None:
    server.script = [(SILENCE,)]
    asking = asyncio.create_task(read(pool))
    await server.heard.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert pool.in_use == 0


async def test_a_connection_that_ended_while_it_was_kept_is_not_used(server: Server, pool: HttpPool) -> None:
    server.script = [(KEPT, CLOSE), (KEPT,)]
    await read(pool)
    await until(pool._idle[0].reader.at_eof)
    assert await read(pool, "POST") == b"hi"


async def test_what_was_not_asked_for_is_no_answer(server: Server, pool: HttpPool) -> None:
    """As a load balancer's 408 before it closes a connection that nobody uses."""
    server.script = [(KEPT,), (KEPT,)]
    await read(pool)
    server.connections[0].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate")
    await until(lambda: pool._idle[0].reader.is_disturbed)
    assert await read(pool) == b"hi"
    assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("method", "is_repeated"), [("GET", True), ("DELETE", True), ("POST", False), ("PATCH", False)]
)
async def test_a_kept_connection_that_ends_without_an_answer(
    server: Server, pool: HttpPool, method: str, is_repeated: bool
) -> None:
    """The server gave it up at the moment of the request: what does no harm twice is sent again."""
    server.script = [(KEPT,), (CLOSE,), (KEPT,)]
    await read(pool)
    if is_repeated:
        assert await read(pool, method) == b"hi"
    else:
        with pytest.raises((EOFError, ConnectionError)):
            await read(pool, method)
    assert len(server.asked) == (3 if is_repeated else 2)


async def test_a_new_connection_that_ends_without_an_answer(server: Server, pool: HttpPool) -> None:
    server.script = [(CLOSE,)]
    with pytest.raises((EOFError, ConnectionError)):
        await read(pool)


async def test_a_connection_that_nobody_uses_is_closed(
    server: Server, pool: HttpPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "IDLE_S", 0.01)
    server.script = [(KEPT, SILENCE)]
    await read(pool)
    async with asyncio.timeout(5):
        await server.connections[0].wait_closed()
    assert not pool._open


class TestReset:
    @pytest.mark.parametrize("is_kept", [True, False])
    async def test_ends_a_request_that_waits(self, server: Server, pool: HttpPool, is_kept: bool) -> None:
        """It is not sent again."""
        server.script = [*([(KEPT,)] if is_kept else []), (SILENCE,), (KEPT,)]
        if is_kept:
            await read(pool)
        server.heard.clear()
        asking = asyncio.create_task(read(pool))
        await server.heard.wait()
        pool.reset()
        with pytest.raises((EOFError, ConnectionError)):
            await asking
        assert await read(pool) == b"hi"

    async def test_ends_an_answer_that_is_read(self, server: Server, pool: HttpPool) -> None:
        server.script = [(OK + b"Transfer-Encoding: chunked\r\n\r\n", SILENCE)]
        async with await pool.request("GET", "/", []) as answer:
            reading = asyncio.create_task(answer.read())
            await asyncio.sleep(0)
            pool.reset()
            with pytest.raises(EOFError):
                await reading

    async def test_ends_a_connection_that_is_being_opened(self) -> None:
        async def connect(_: object) -> Any:
            await asyncio.Event().wait()

        pool = HttpPool(connect, "api.test")
        asking = asyncio.create_task(pool.request("GET", "/", []))
        await asyncio.sleep(0)
        pool.reset()
        with pytest.raises(TimeoutError):
            await asking

    async def test_an_answer_that_was_read_before_keeps_nothing(self, server: Server, pool: HttpPool) -> None:
        server.script = [(KEPT,)]
        async with await pool.request("GET", "/", []) as answer:
            await answer.read()
            pool.reset()
        assert not pool._idle
