"""Sends a request again that was watched, to the local port it went to."""

import asyncio
import time
from dataclasses import replace
from typing import Any, cast

from ktpy.inspect.connection import WatchedConnection
from ktpy.inspect.curl import sent_again
from ktpy.inspect.draft import Draft
from ktpy.inspect.record import HttpMessage, WatchedRequest
from ktpy.serve.local_port import LocalPort

TIMEOUT_S = 30.0
_WITH_A_LENGTH = frozenset({"POST", "PUT", "PATCH"})


async def replay(first: WatchedRequest, local: LocalPort) -> WatchedRequest:
    """Return how it went this time; a local port that does not answer is told in its `failure`."""
    began_s, began_at = time.time(), time.perf_counter()
    answered: asyncio.Future[WatchedRequest | str] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            transport, _ = await local.connect(lambda: _Again(first, answered))
            try:
                again = await answered
            finally:
                transport.abort()
    except TimeoutError:
        again = f"no answer within {TIMEOUT_S:g} s"
    except OSError:
        again = f"{local} does not answer"
    if isinstance(again, WatchedRequest):
        return again
    nothing: dict[str, Any] = {"status": None, "answer": HttpMessage(), "waited_s": None, "failure": again}
    return replace(first, began_s=began_s, took_s=time.perf_counter() - began_at, **nothing)


def refused(first: WatchedRequest) -> str | None:
    """Say why the request cannot be sent again as it was; None where it can."""
    if first.protocol not in ("http/1.1", "http/1.0"):
        return f"Request {first.id} is {first.protocol}, and only HTTP/1.1 is sent again; nothing was sent."
    if not first.request.is_whole:
        size, kept = first.request.size, len(first.request.body)
        return f"Request {first.id} has a body of {size} bytes, of which {kept} were kept; nothing was sent."
    return None


def request_bytes(first: WatchedRequest) -> bytes:
    """Return the request for a connection of its own, whose body has a length in place of chunks."""
    headers = [*sent_again(first.request, secrets=True), ("Connection", "close")]
    if first.request.size or first.method in _WITH_A_LENGTH:
        headers.append(("Content-Length", str(first.request.size)))
    head = [f"{first.method} {first.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + first.request.body


class _Again(asyncio.Protocol):
    """One connection that sends a request, and reads its answer as the first was read."""

    def __init__(self, first: WatchedRequest, answered: "asyncio.Future[WatchedRequest | str]") -> None:
        self._first, self._answered = first, answered
        self._read = WatchedConnection(self._tell, self._settle, is_new=True)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = request_bytes(self._first)
        cast(asyncio.Transport, transport).write(request)
        self._read.asked(request)

    def data_received(self, data: bytes) -> None:
        self._read.answered(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._read.ended()
        self._settle("it closed the connection without an answer")

    def _tell(self, draft: Draft) -> None:
        if not draft.is_open:
            self._settle(draft.record(self._first.id, self._first.port, self._first.local_port))

    def _settle(self, how: WatchedRequest | str) -> None:
        if not self._answered.done():
            self._answered.set_result(how)
