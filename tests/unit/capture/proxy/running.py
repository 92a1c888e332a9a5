"""A proxy on a real port, whose cluster is loopback: the name `web` leads to a web server of the test's."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from threading import Thread
from typing import Any, cast

from ktpy.capture.proxy.destination import DialFailure, Kind
from ktpy.capture.proxy.dialler import Dialler
from ktpy.capture.proxy.names import Names, Resolved
from ktpy.capture.proxy.server import ProxyServer
from ktpy.capture.proxy.settings import pac_file
from ktpy.capture.spec import DatagramWay
from ktpy.sessions.options import listen_for_proxy

POD = "10.244.0.7"
"""Its ports are those of loopback; other addresses of the cluster are these."""
FAILURES = {
    "10.244.0.1": ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    "10.244.0.2": OSError(errno.EHOSTUNREACH, "unreachable"),
    "10.244.0.3": OSError(errno.ENETUNREACH, "no route"),
    "10.244.0.4": TimeoutError(),
    "10.244.0.5": ConnectionAbortedError("the tunnel is gone"),
}


class FakeNames:
    """It knows `web` and `web.shop` of the cluster, and `outside.example`, which is this machine."""

    async def resolve(self, name: str) -> Resolved:
        if name in ("web", "web.shop"):
            return Resolved([ip_address(POD)], is_inside=True)
        if name == "outside.example":
            return Resolved([ip_address("127.0.0.1")], is_inside=False)
        raise DialFailure(Kind.UNKNOWN_NAME, f"There is no {name}, neither in the cluster nor outside.")


async def dial_from_pod(make: Callable[[], Any], host: str, port: int, **_: float) -> Any:
    if host in FAILURES:
        raise FAILURES[host]
    return await asyncio.get_running_loop().create_connection(make, "127.0.0.1", port)


@asynccontextmanager
async def proxying(
    login: tuple[str, str] | None = None, *, datagrams: DatagramWay | None = None
) -> AsyncIterator[ProxyServer]:
    """A proxy that accepts."""
    listener = listen_for_proxy(None)
    names: asyncio.Future[Names] = asyncio.get_running_loop().create_future()
    names.set_result(cast(Names, FakeNames()))
    dialler = Dialler(names, dial_from_pod, [ip_network("10.244.0.0/16")])
    pac = pac_file(listener.getsockname()[1], ["svc"], ["shop"], [])
    server = ProxyServer(listener, dialler, login, lambda: pac, datagrams=datagrams)
    serving = asyncio.create_task(server.wait_closed())
    try:
        yield server
    finally:
        serving.cancel()
        await server.aclose()


def port_of(proxy: ProxyServer) -> int:
    return int(proxy.listener.getsockname()[1])


class _Echo(BaseHTTPRequestHandler):
    """Answers with the request line, the headers and the body that it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body)

    do_HEAD = do_GET  # noqa: N815 - http.server names it

    def _answer(self, body: bytes) -> None:
        text = f"{self.requestline}\n{self.headers}".encode() + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Keep-Alive", "timeout=5")
        self.send_header("X-Peer-Port", str(self.client_address[1]))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Not on the test's output."""


@contextmanager
def web_server() -> Iterator[int]:
    """The port of a web server that tells what it was asked."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Client:
    """A client of the proxy's, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def of(cls, proxy: ProxyServer) -> "AsyncIterator[Client]":
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(proxy))
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def ask(self, data: bytes, count: int = 0) -> bytes:
        """Send, and return so many bytes; without a number all until the proxy closes."""
        self.writer.write(data)
        return await (self.reader.readexactly(count) if count else self.reader.read())

    async def answer(self) -> tuple[int, bytes]:
        """Return status and body of an HTTP answer, whose length is given."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        return status, await self.reader.readexactly(int(length.partition(b":")[2]))
