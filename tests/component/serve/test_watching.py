"""What is told of real programs' traffic: a server of http.server, one of gRPC, and a WebSocket of aiohttp."""

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web

from ktpy.inspect.curl import curl
from ktpy.inspect.events import WatchBegun, decode
from ktpy.inspect.record import WatchedRequest
from ktpy.serve.local_port import LocalPort
from ktpy.serve.watching import Watching
from ktpy.wire.route import ServicePort
from tests.kit.bridge import bridged
from tests.kit.ports import free_port

SECRET = "it's a secret"


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent, in chunks; one request at a time over a kept connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.headers["Authorization"] == SECRET else 401)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 10_000):
            piece = body[at : at + 10_000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Not on the test's output."""


@contextmanager
def echoing() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Viewing:
    """A viewer of what goes to a local port, and the port that leads there."""

    def __init__(self, watching: Watching, events: Any, port: int) -> None:
        self.watching, self.port = watching, port
        self._events = events

    async def told(self) -> WatchedRequest:
        async with asyncio.timeout(60):
            event = decode(await anext(self._events))
        assert isinstance(event, WatchedRequest), event
        return event


@asynccontextmanager
async def viewing(local_port: int) -> AsyncIterator[Viewing]:
    local = LocalPort(local_port)
    watching = Watching({ServicePort(80): local}, lambda _: WatchBegun("exchange", "web", "shop", "5e55", "all", 0))
    async with bridged(local) as port, aclosing(watching.stream({"bodies": True, "secrets": True})) as events:
        await anext(events)
        yield Viewing(watching, events, port)


async def test_kept_connections_of_http() -> None:
    body = bytes(100_000)
    with echoing() as server:
        async with viewing(server) as viewing_, aiohttp.ClientSession() as client:
            for number in (1, 2, 3):
                url = f"http://127.0.0.1:{viewing_.port}/{number}"
                async with client.post(url, data=body, headers={"Authorization": SECRET}) as answer:
                    assert await answer.read() == body
                told = await viewing_.told()
                assert (told.id, told.path, told.status, told.failure) == (number, f"/{number}", 200, None)
                assert (told.request.size, told.answer.size, len(told.answer.body)) == (100_000, 100_000, 64 << 10)


@pytest.mark.parametrize("body", [b"a=1&b='2'", b"@/etc/hostname", b"\x00\xff\n"])
async def test_a_request_is_sent_again_by_the_session_and_by_curl(body: bytes) -> None:
    with echoing() as server:
        async with viewing(server) as viewing_:
            async with aiohttp.ClientSession() as client:
                url = f"http://127.0.0.1:{viewing_.port}/a?b=c"
                await (await client.post(url, data=body, headers={"Authorization": SECRET})).read()
            first = await viewing_.told()
            _, again = [decode(one) async for one in viewing_.watching.replay({"id": 1, "bodies": True})]
        assert isinstance(again, WatchedRequest)
        assert (again.status, again.answer.body, again.failure) == (200, body, None)
        command = ["sh", "-c", f"{curl(first, secrets=True)}"]
        printed = (await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=60)).stdout
    head, _, answer = printed.partition(b"\r\n\r\n")
    assert (head.splitlines()[0], answer) == (b"HTTP/1.1 200 OK", body)


async def test_calls_of_grpc() -> None:
    """Of a real server and client, whose messages go both ways."""

    async def reverse(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request[::-1]
            yield request

    handler = grpc.stream_stream_rpc_method_handler(reverse)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Cart", {"Add": handler}),))
    local_port = free_port()
    server.add_insecure_port(f"127.0.0.1:{local_port}")
    await server.start()
    try:
        async with viewing(local_port) as viewing_, grpc.aio.insecure_channel(f"127.0.0.1:{viewing_.port}") as channel:
            call = channel.stream_stream("/shop.Cart/Add")(iter([b"ab", b"cd"]))
            assert [one async for one in call] == [b"ba", b"ab", b"dc", b"cd"]
            told = await viewing_.told()
            assert (told.protocol, told.path, told.grpc_status) == ("grpc", "/shop.Cart/Add", 0)
            assert (told.request.messages, told.answer.messages) == (2, 4)
            with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
                await channel.unary_unary("/shop.Cart/Lose")(b"ab")
            assert (await viewing_.told()).grpc_status == grpc.StatusCode.UNIMPLEMENTED.value[0]
    finally:
        await server.stop(None)


async def test_a_websocket() -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        answering = web.WebSocketResponse()
        await answering.prepare(request)
        async for message in answering:
            await answering.send_bytes(message.data)
        return answering

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    local_port = free_port()
    await web.TCPSite(runner, "127.0.0.1", local_port).start()
    try:
        async with viewing(local_port) as viewing_, aiohttp.ClientSession() as client:
            async with client.ws_connect(f"http://127.0.0.1:{viewing_.port}/ws") as talking:
                opened = await viewing_.told()
                assert (opened.protocol, opened.path, opened.status, opened.is_open) == ("websocket", "/ws", 101, True)
                for size in (1, 1_000, 100_000):
                    await talking.send_bytes(bytes(size))
                    assert await talking.receive_bytes() == bytes(size)
            told = await viewing_.told()
            assert (told.id, told.is_open) == (opened.id, False)
            assert (told.request.messages, told.answer.messages) == (3, 3)
    finally:
        await runner.cleanup()
