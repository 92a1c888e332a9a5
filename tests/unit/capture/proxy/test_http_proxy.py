"""HTTP by way of the proxy, request after request, to a server whose answers are scripted."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ktpy.capture.proxy.server import ProxyServer
from tests.kit.waiting import until
from tests.unit.capture.proxy.running import Client, proxying

LOGIN = ("ktpy", "secret")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Origin:
    """A server that sends the next answer of its script for each head; `heads` and `bodies` are what it got.

    An answer of None closes the connection instead.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0
        self.rest = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if (answer := self.answers.pop(0)) is None:
                    break
                writer.write(answer)
                if answer.startswith(b"HTTP/1.1 100"):
                    self.rest += await reader.readexactly(5)
                    writer.write(self.answers.pop(0) or b"")
        except asyncio.IncompleteReadError as broken:
            self.rest += broken.partial
        writer.close()

    def url(self, path: str = "/") -> str:
        return f"http://web:{self.port}{path}"


@pytest.fixture
async def proxy() -> AsyncIterator[ProxyServer]:
    async with proxying() as proxy:
        yield proxy


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    origin = Origin(OK)
    async with await asyncio.start_server(origin.serve, "127.0.0.1", 0) as listening:
        origin.port = listening.sockets[0].getsockname()[1]
        yield origin


def get(url: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {url} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


async def test_a_connection_is_kept_on_both_sides(proxy: ProxyServer, origin: Origin) -> None:
    origin.answers = [OK, OK, OK]
    async with Client.of(proxy) as client:
        for path in ("/1", "/2", "/3"):
            client.writer.write(get(origin.url(path), "Proxy-Connection: keep-alive"))
            assert await client.answer() == (200, b"ok")
    host = f"Host: web:{origin.port}"
    assert origin.heads == [f"GET /{n} HTTP/1.1\r\n{host}\r\n\r\n".encode() for n in (1, 2, 3)]
    assert (origin.connections, proxy.counters.http_requests) == (1, 3)


async def test_requests_may_be_pipelined(proxy: ProxyServer, origin: Origin) -> None:
    origin.answers = [OK, OK]
    async with Client.of(proxy) as client:
        client.writer.write(get(origin.url("/1")) + get(origin.url("/2")))
        assert [await client.answer(), await client.answer()] == [(200, b"ok")] * 2


async def test_a_kept_connection_that_the_server_closes_just_then_is_dialled_again(
    proxy: ProxyServer, origin: Origin
) -> None:
    """Also where the client has sent its next request already."""
    origin.answers = [OK, None, OK, OK]
    async with Client.of(proxy) as client:
        client.writer.write(get(origin.url()))
        assert await client.answer() == (200, b"ok")
        client.writer.write(get(origin.url("/2")) + get(origin.url("/3")))
        assert [await client.answer(), await client.answer()] == [(200, b"ok")] * 2
    assert origin.connections == 2
    assert [head.split()[1] for head in origin.heads] == [b"/", b"/2", b"/2", b"/3"]


@pytest.mark.parametrize("answer", [None, b"SMTP ready\r\n", b"HTTP/1.1 2"])
async def test_a_server_without_an_http_answer(proxy: ProxyServer, origin: Origin, answer: bytes | None) -> None:
    origin.answers = [answer]
    async with Client.of(proxy) as client:
        client.writer.write(get(origin.url()))
        client.writer.write_eof()
        status, body = await client.answer()
    assert status == 502
    assert b"closed the connection without an HTTP answer" in body


async def test_an_answer_that_breaks_off_breaks_off(proxy: ProxyServer, origin: Origin) -> None:
    origin.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
    async with Client.of(proxy) as client:
        client.writer.write(get(origin.url()))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.answer()


async def test_an_answer_without_a_length_is_passed_on_in_chunks(proxy: ProxyServer, origin: Origin) -> None:
    origin.answers = [b"HTTP/1.0 200 OK\r\n\r\nuntil the end"]
    async with Client.of(proxy) as client:
        client.writer.write(get(origin.url()))
        said = await client.reader.readuntil(b"0\r\n\r\n")
    assert b"transfer-encoding: chunked" in said.lower()
    assert b"until the end" in said


async def test_a_client_of_http_1_0_is_closed(proxy: ProxyServer, origin: Origin) -> None:
    origin.answers = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]
    async with Client.of(proxy) as client:
        said = await client.ask(get(origin.url(), version="1.0"))
    assert said.endswith(b"\r\n\r\nok")
    assert b"chunked" not in said


async def test_a_body_goes_through_as_it_is_framed(proxy: ProxyServer, origin: Origin) -> None:
    origin.answers = [b"HTTP/1.1 100 Continue\r\n\r\n", OK]
    async with Client.of(proxy) as client:
        client.writer.write(get(origin.url(), "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"hello")
        assert await client.answer() == (200, b"ok")
    assert origin.rest == b"hello"


async def test_an_answer_before_the_end_of_the_request_ends_the_connection(proxy: ProxyServer, origin: Origin) -> None:
    origin.answers = [b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"]
    async with Client.of(proxy) as client:
        client.writer.write(get(origin.url(), "Content-Length: 100", method="POST"))
        assert await client.answer() == (413, b"big")
        assert await client.reader.read() == b""


async def test_a_client_that_ends_within_its_body(proxy: ProxyServer, origin: Origin) -> None:
    origin.answers = [b"", b""]
    async with Client.of(proxy) as client:
        client.writer.write(get(origin.url(), "Content-Length: 100", method="POST") + b"hel")
        client.writer.write_eof()
        status, body = await client.answer()
        assert (status, b"cannot be read" in body) == (400, True)
    await until(lambda: origin.rest == b"hel")


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (get("/"), 400, "This port is ktpy's proxy"),
        (get("https://web/"), 501, "go through CONNECT"),
        (get("web", method="CONNECT"), 400, "CONNECT wants a host and a port"),
        (b"GET http://web/\r\n\r\n", 400, "cannot be read"),
        (b"GET http://web/ HTTP/1.1\r\n\r\n", 400, "cannot be read"),
        (b"GET http://web/ HTTP/1.1\r\nX: " + b"x" * 400_000, 431, "cannot be read"),
        (b"GET http://web/ HTTP/1.1\r\n" + b"X: y\r\n" * 80_000, 431, "cannot be read"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "This port is ktpy's proxy"),
    ],
)
async def test_what_is_refused_with_a_sentence(proxy: ProxyServer, request_: bytes, status: int, words: str) -> None:
    async with Client.of(proxy) as client:
        client.writer.write(request_)
        told, body = await client.answer()
        assert told == status
        assert words in body.decode()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_pac_file(proxy: ProxyServer, method: str) -> None:
    async with Client.of(proxy) as client:
        client.writer.write(get("/proxy.pac", method=method))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"application/x-ns-proxy-autoconfig" in head
        if method == "GET":
            assert b"function FindProxyForURL" in await client.reader.read(100_000)


async def test_without_the_login_nothing_is_reached(origin: Origin) -> None:
    async with proxying(LOGIN) as proxy, Client.of(proxy) as client:
        for request in (get(origin.url()), get(f"web:{origin.port}", method="CONNECT"), get("/proxy.pac")):
            client.writer.write(request)
            status, body = await client.answer()
            assert status == 407
            assert b"a user and a password" in body
    assert origin.connections == 0


async def test_with_the_login(origin: Origin) -> None:
    async with proxying(LOGIN) as proxy, Client.of(proxy) as client:
        client.writer.write(get(origin.url(), "Proxy-Authorization: Basic a3RweTpzZWNyZXQ="))
        assert await client.answer() == (200, b"ok")
    assert b"roxy" not in origin.heads[0]
