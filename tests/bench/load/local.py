"""The developer's program, as lean as one of Python is: `python -m tests.bench.load.local PORT TEXT`.

It answers each request on 127.0.0.1 with the text at once, and does nothing that could come in between: what it takes
itself, and by how much that differs, is small beside what is measured.
"""

import asyncio
import gc
import sys

import uvloop


class Answering(asyncio.Protocol):
    """An Answering is one connection, of requests without bodies."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._rest = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for _ in requests:
            self._transport.write(self._answer)


async def main(port: str, text: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(text) + 1}\r\n\r\n{text}\n".encode()
    gc.disable()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(answer), "127.0.0.1", int(port), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:3]))
