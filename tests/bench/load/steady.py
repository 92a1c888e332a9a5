"""Visitors who keep coming: `python -m tests.bench.load.steady HOST PORT RATE` until the end of its input.

An open loop: request n is due n/RATE seconds after the first and starts then, however many are still under way. Every
other one has a connection of its own, the rest share kept ones as an HTTP library's pool does. Where a kept one ends
before the answer has begun, its request is sent once more on a new one, as libraries do with idempotent requests
(RFC 9110, 9.2.2; Go's net/http, curl and browsers on no other connections). Prints a JSON list for each request that
is over: when it was due, on the machine's monotonic clock; how late it started; how long it took from when it was due;
the first word of the answer's body, or what went wrong; and whether it was sent once more. Its path is `path_of` when
it was due, so that whoever sees it knows which one it is.
"""

import asyncio
import contextlib
import gc
import json
import sys
from collections import deque
from collections.abc import Callable
from itertools import count, cycle
from typing import Any

KEPT_CONNECTIONS = 8
KEPT_FOR = (5, 10, 20, 40)  # requests: some are always about to go, and none stays with an earlier pod for long
TIMEOUT_S = 15.0


class Ended(Exception):
    """The server ended the connection instead of answering."""


class Connection(asyncio.Protocol):
    """HTTP/1.1 to one server: a request at a time."""

    transport: asyncio.Transport

    def __init__(self, on_end: "Callable[[Connection], None]", lasts: int) -> None:
        self.used, self.lasts = 0, lasts
        self._on_end = on_end
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    async def ask(self, request: bytes) -> bytes:
        """The whole answer; OSError or Ended when it does not come."""
        self.used += 1
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    @property
    def may_have_been_stale(self) -> bool:
        """Whether it was kept, and has brought nothing of the answer to its last request."""
        return self.used > 1 and not self._received

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = _field(head, b"content-length")
        if separator and length is not None and len(body) >= int(length):
            self._finish(None)

    def eof_received(self) -> None:
        """One without a length ends with its connection."""
        head, separator, _ = self._received.partition(b"\r\n\r\n")
        whole = separator and _field(head, b"content-length") is None
        self._finish(None if whole else Ended(f"after {len(self._received)} bytes of the answer"))

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(error or Ended("by this end"))

    def _finish(self, error: Exception | None) -> None:
        if error is not None:
            self._on_end(self)
        if self._answer is not None and not self._answer.done():
            if error is None:
                self._answer.set_result(self._received)
            else:
                self._answer.set_exception(error)


def _field(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return None


def digest(answer: bytes) -> str:
    """The first word of a good answer; the status and the body of another."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode(errors="replace")
    text = " ".join(body.decode(errors="replace").split())
    return text.split(maxsplit=1)[0] if status == "200" else f"HTTP {status}: {text}"


def path_of(due_s: float) -> str:
    return f"/{due_s:.4f}"


class Visitors:
    """Everybody of one pod. A kept connection that ends while nobody uses it is noticed, as by a library's pool."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._fields = f" HTTP/1.1\r\nHost: {host}\r\n\r\n"
        self._kept: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._lives = cycle(KEPT_FOR)
        self._tasks: set[asyncio.Task[None]] = set()

    async def come(self, rate: float, ended: asyncio.Event) -> None:
        """Until told to end, and until the last one has his answer."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for number in count():
            due_s = began_s + number / rate
            await asyncio.sleep(due_s - loop.time())
            if ended.is_set():
                break
            task = loop.create_task(self._visit(due_s, is_kept=number % 2 == 1))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)
        for connection in self._idle:
            connection.transport.close()

    async def _visit(self, due_s: float, *, is_kept: bool) -> None:
        now = asyncio.get_running_loop().time
        late_s, connection, is_retried = now() - due_s, None, False
        request = f"GET {path_of(due_s)}{self._fields}".encode()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await (self._kept_connection() if is_kept else self._connect(1))
                try:
                    raw = await connection.ask(request)
                except (OSError, Ended):
                    if not connection.may_have_been_stale:
                        raise
                    connection, is_kept, is_retried = None, False, True
                    connection = await self._connect(1)
                    raw = await connection.ask(request)
            answer = digest(raw)
            self._put_back(connection, raw)
        except (OSError, Ended) as error:
            where = ("kept" if is_kept else "new") + " connection" if connection else "while connecting"
            answer = f"{type(error).__name__}: {error}, {where}"
            if connection:
                self._forget(connection)
                connection.transport.abort()
        line = round(due_s, 4), round(late_s, 4), round(now() - due_s, 4), answer, is_retried
        print(json.dumps(line), flush=True)

    async def _kept_connection(self) -> Connection:
        """The one that has been idle longest, once there are enough."""
        if len(self._kept) >= KEPT_CONNECTIONS and self._idle:
            return self._idle.popleft()
        connection = await self._connect(next(self._lives))
        self._kept.add(connection)
        return connection

    async def _connect(self, lasts: int) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._forget, lasts), *self._address)
        return connection

    def _put_back(self, connection: Connection, answer: bytes) -> None:
        """For the next, unless one side thinks that it has served long enough, or the load has ended."""
        head = answer.partition(b"\r\n\r\n")[0]
        is_over = connection.transport.is_closing() or (_field(head, b"connection") or b"").lower() == b"close"
        if is_over or connection.used >= connection.lasts or len(self._idle) >= KEPT_CONNECTIONS:
            self._forget(connection)
            connection.transport.close()
        else:
            self._idle.append(connection)

    def _forget(self, connection: Connection) -> None:
        self._kept.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)


async def main(host: str, port: str, rate: str) -> None:
    gc.disable()  # it lasts for some minutes at most, and a collection would be in the figures
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await Visitors(host, int(port)).come(float(rate), ended)


if __name__ == "__main__":
    arguments: Any = sys.argv[1:]
    asyncio.run(main(*arguments))
