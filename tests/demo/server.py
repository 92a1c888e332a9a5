#!/usr/bin/env python3
"""The demo shop's servers, one file, standard library only: an HTTP/1.1 service, and TCP and UDP echo.

    server.py http NAME [UPSTREAM_HOST]    on port 8080; `/` also asks the upstream service
    server.py echo                         TCP echo and UDP echo on port 7007, TCP digest on port 7008

| request              | answer                                                             |
|----------------------|--------------------------------------------------------------------|
| GET /                | a line of text from this service, then its upstream's               |
| GET /healthz         | ok                                                                 |
| GET /headers         | JSON: method, peer, headers as received                            |
| GET /big?bytes=N     | N bytes that `big_body` can reproduce                              |
| POST or PUT /upload  | JSON: how many bytes arrived, and their SHA-256                    |
"""

import asyncio
import hashlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

HTTP_PORT = 8080
ECHO_PORT = 7007
DIGEST_PORT = 7008
BLOCK_BYTES = 64 << 10
PATTERN = bytes(range(256)) * (BLOCK_BYTES // 256)


def big_body(size: int) -> Iterator[bytes]:
    """The body of /big in blocks. Each starts with its number, so that a lost or swapped block changes the checksum."""
    for number, start in enumerate(range(0, size, BLOCK_BYTES)):
        yield (number.to_bytes(8, "big") + PATTERN[8:])[: size - start]


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    peer: str
    reader: asyncio.StreamReader

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives, by Content-Length or chunked (RFC 9112 sections 6.2 and 7.1)."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(await self.reader.readline(), 16):
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readline()
            return
        left = int(self.headers.get("content-length", 0))
        while left:
            data = await self.reader.read(min(left, 4 * BLOCK_BYTES))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data


class HttpService:
    def __init__(self, name: str, upstream: str | None) -> None:
        self.name = name
        self.upstream = upstream

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, request after request, until one side has enough."""
        peer = writer.get_extra_info("peername")[0]
        try:
            while request := await read_request(reader, peer):
                if "100-continue" in request.headers.pop("expect", ""):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await self.answer(request, writer)
                if request.headers.get("connection", "").lower() == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client went away, or does not speak HTTP
        finally:
            await close(writer)

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        match request.method, request.path:
            case "GET" | "HEAD", "/":
                await respond(writer, request, await self.greeting())
            case "GET", "/healthz":
                await respond(writer, request, "ok\n")
            case _, "/headers":
                async for _ in request.body():
                    pass
                seen = {"method": request.method, "peer": request.peer, "headers": request.headers}
                await respond(writer, request, json.dumps(seen) + "\n", content_type="application/json")
            case "GET", "/big":
                size = int(request.query.get("bytes", ["1048576"])[0])
                writer.write(head(200, size, "application/octet-stream"))
                for block in big_body(size):
                    writer.write(block)
                    await writer.drain()
            case "POST" | "PUT", "/upload":
                digest, size = hashlib.sha256(), 0
                async for data in request.body():
                    digest.update(data)
                    size += len(data)
                got = {"bytes": size, "sha256": digest.hexdigest()}
                await respond(writer, request, json.dumps(got) + "\n", content_type="application/json")
            case _:
                async for _ in request.body():
                    pass
                await respond(writer, request, f"{self.name} has no {request.path}\n", status=404)

    async def greeting(self) -> str:
        text = f"{self.name} greets you from pod {socket.gethostname()}\n"
        if self.upstream:
            try:
                text += f"  and asked {self.upstream}: {await fetch(self.upstream)}"
            except OSError as exc:
                text += f"  but {self.upstream} does not answer: {exc or 'no word in 2 s'}\n"
        return text


async def read_request(reader: asyncio.StreamReader, peer: str) -> Request | None:
    """The next request of a connection; None at its end."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = lines[0].split(" ")
    url = urlsplit(target)
    fields = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    return Request(method, url.path, parse_qs(url.query), headers, peer, reader)


def head(status: int, length: int, content_type: str) -> bytes:
    reason = {200: "OK", 404: "Not Found"}[status]
    return f"HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n".encode()


async def respond(
    writer: asyncio.StreamWriter, request: Request, text: str, *, status: int = 200, content_type: str = "text/plain"
) -> None:
    """One write for head and body: two would wait for each other (Nagle's algorithm and delayed ACKs)."""
    body = text.encode()
    writer.write(head(status, len(body), content_type) + (b"" if request.method == "HEAD" else body))
    await writer.drain()


async def fetch(host: str) -> str:
    """The body of http://HOST/."""
    async with asyncio.timeout(2):
        reader, writer = await asyncio.open_connection(host, 80)
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return body.decode()
        finally:
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back every byte at once; the end of the stream is echoed too."""
    with suppress(ConnectionError):
        while data := await reader.read(4 * BLOCK_BYTES):
            writer.write(data)
            await writer.drain()
    await close(writer)


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer only after the client's end of stream: size and SHA-256. Shows whether half-close is carried."""
    total, size = hashlib.sha256(), 0
    with suppress(ConnectionError):
        while data := await reader.read(4 * BLOCK_BYTES):
            total.update(data)
            size += len(data)
        writer.write(f"{size} {total.hexdigest()}\n".encode())
        await writer.drain()
    await close(writer)


class UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def serve(arguments: list[str]) -> None:
    """Listen on all addresses, IPv4 and IPv6, until SIGTERM (which pid 1 of a pod must handle itself)."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    match arguments:
        case ["http", name, *upstream]:
            service = HttpService(name, upstream[0] if upstream else None)
            await asyncio.start_server(service.converse, port=HTTP_PORT, backlog=1024)
        case ["echo"]:
            await asyncio.start_server(echo, port=ECHO_PORT, backlog=1024)
            await asyncio.start_server(digest, port=DIGEST_PORT, backlog=1024)
            for address in ("::", "0.0.0.0"):  # the first serves both families, and the second fails
                with suppress(OSError):  # a node without IPv6 has the second
                    await loop.create_datagram_endpoint(UdpEcho, local_addr=(address, ECHO_PORT))
        case _:
            sys.exit(__doc__)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
