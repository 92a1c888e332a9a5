"""A request that is sent again: what is sent, and every way in which that fails."""

import asyncio
from dataclasses import replace

import pytest

from ktpy.inspect.record import HttpMessage, WatchedRequest
from ktpy.serve.local_port import LocalPort
from ktpy.serve.replay import refused, replay, request_bytes
from tests.kit.ports import free_port
from tests.kit.watched import REQUEST

CHUNKED = HttpMessage((("Host", "web"), ("Transfer-Encoding", "chunked"), ("Connection", "keep-alive")), 3, b"abc")


async def served(answer: bytes | None) -> "asyncio.Server":
    """A server that reads a request and answers it so, then closes; None is silence."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await asyncio.sleep(3600)
        else:
            writer.write(answer)
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def test_what_is_sent_has_a_length_and_its_secrets() -> None:
    assert request_bytes(replace(REQUEST, method="POST", request=CHUNKED)) == (
        b"POST /api?x=1 HTTP/1.1\r\nHost: web\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert b"Authorization: Bearer t0ken\r\n" in request_bytes(REQUEST)


@pytest.mark.parametrize(
    ("answer", "status", "failure"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 503, None),
        (b"HTTP/1.0 200 OK\r\n\r\nall", 200, None),
        (b"", None, "the connection ended before the answer was whole"),
        (b"+OK\r\n\r\n", None, "it is no HTTP/1.1 ("),
        (None, None, "no answer within 30 s"),
    ],
)
async def test_how_it_goes(answer: bytes | None, status: int | None, failure: str | None) -> None:
    async with await served(answer) as server:
        again = await replay(REQUEST, LocalPort(server.sockets[0].getsockname()[1]))
    assert again.status == status
    assert (again.failure or "").startswith(failure or "")
    assert (again.failure is None) is (failure is None)


async def test_a_local_port_that_is_down() -> None:
    number = free_port()
    again = await replay(REQUEST, LocalPort(number))
    assert again.failure == f"local port {number} does not answer"
    assert again.answer == HttpMessage()


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (replace(REQUEST, protocol="grpc"), "Request 7 is grpc, and only HTTP/1.1 is sent again; nothing was sent."),
        (
            replace(REQUEST, request=HttpMessage((), 70_000, b"x")),
            "Request 7 has a body of 70000 bytes, of which 1 were kept; nothing was sent.",
        ),
    ],
)
def test_what_cannot_be_sent_again(first: WatchedRequest, said: str) -> None:
    assert refused(first) == said
