"""Where each request of a connection ends: HAProxy and two parsers of servers behind it agree on well-formed ones."""

import asyncio
import json
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest
from aiohttp import http_parser, web, web_protocol

from tests.component.agent.gateway_pod import GatewayPod, open_directory
from tests.component.agent.test_gateway_protocols import connect

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy"),
]

REQUESTS = 80
PARSERS = {"in-c": http_parser.HttpRequestParserC, "in-python": http_parser.HttpRequestParserPy}
LOOKS_LIKE_A_REQUEST = b"GET /inner HTTP/1.1\r\nHost: web\r\nVERSION: foobar\r\n\r\n"


class Request(NamedTuple):
    sent: bytes
    meant: dict[str, str]


def some_request(number: int, chance: random.Random) -> Request:
    """A well-formed request (RFC 9112): its body by length, in chunks with extensions and trailers, or none."""
    method = chance.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
    path = f"/{number}" + chance.choice(["", "/a%20b", "?q=1&r=%0d%0a", "//x", "/;v=1"])
    body = chance.choice(
        [b"", b"x", LOOKS_LIKE_A_REQUEST, b"0\r\n\r\n" * 3, chance.randbytes(chance.randrange(70_000))]
    )
    body = b"" if method == "GET" else body
    field, framed = b"Content-Length: %d" % len(body), body
    if method != "GET" and chance.random() < 0.5:
        field, framed = (
            chance.choice([b"Transfer-Encoding: chunked", b"transfer-encoding:chunked"]),
            in_chunks(body, chance),
        )
    fields = [b"Host: web", *chance.sample(FIELDS, chance.randrange(len(FIELDS))), field]
    head = b"%s %s HTTP/1.1\r\n%s\r\n\r\n" % (method.encode(), path.encode(), b"\r\n".join(fields))
    return Request(head + framed, {"method": method, "path": path, "body": body.decode("latin-1")})


FIELDS = [
    b"X-Empty:",
    b"x-spaces: \t a \t b \t ",
    b"X-Text: \xc3\xa9",
    b"X-Twice: 1",
    b"x-twice: 2",
    b"X-Long: " + b"y" * 5000,
    b"Connection: keep-alive",
    b"Cookie: a=b; c=d",
]


def in_chunks(body: bytes, chance: random.Random) -> bytes:
    chunks = b""
    while body:
        size = chance.randrange(1, len(body) + 1)
        length = chance.choice([b"%x", b"%X", b"0%x"]) % size
        chunks += length + chance.choice([b"", b";a", b";a=b", b';a="b c"']) + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    return chunks + b"0\r\n" + chance.choice([b"", b"X-Trailer: 1\r\n"]) + b"\r\n"


@contextmanager
def server(monkeypatch: pytest.MonkeyPatch, parser: type[Any]) -> Iterator[int]:
    """Answers each request with what this parser takes it to be."""
    monkeypatch.setattr(web_protocol, "HttpRequestParser", parser)

    async def answer(request: web.BaseRequest) -> web.Response:
        body = (await request.read()).decode("latin-1")
        return web.json_response({"method": request.method, "path": request.raw_path, "body": body})

    async def listen() -> asyncio.Server:
        return await loop.create_server(web.Server(answer), "127.0.0.1", 0)

    loop = asyncio.new_event_loop()
    listener = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listener.close()
        loop.close()


def read_answer(stream: BinaryIO) -> dict[str, str]:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        assert line, head
        head += line
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    answer: dict[str, str] = json.loads(stream.read(length))
    return answer


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
def test_requests_end_where_they_end(monkeypatch: pytest.MonkeyPatch, parser: type[Any]) -> None:
    chance = random.Random(1)
    requests = [some_request(number, chance) for number in range(REQUESTS)]
    with server(monkeypatch, parser) as origin, open_directory() as directory:
        pod = GatewayPod(directory)
        bind = pod.add_port(origin)
        with pod.serving(), connect(bind) as client, client.makefile("rb") as stream:
            sending = threading.Thread(target=client.sendall, args=(b"".join(each.sent for each in requests),))
            sending.start()
            for request in requests:
                assert read_answer(stream) == request.meant
            sending.join()
