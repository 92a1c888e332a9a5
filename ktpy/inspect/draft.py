"""A request that is under way, of which the readers of HTTP/1.1 and HTTP/2 fill in what they see."""

import time
from collections.abc import Callable

from ktpy.inspect.messages import MessageCount, grpc_frame
from ktpy.inspect.record import BODY_LIMIT_BYTES, Headers, HttpMessage, WatchedRequest

Tell = Callable[["Draft"], None]
"""Is told of each request when it has ended, and when its answer goes on for long."""
Clock = Callable[[], float]
"""Tells when the piece came that is being read, on the scale of `time.perf_counter`."""
UNANSWERED_LIMIT = 1000
"""So many requests of one connection may be under way; nobody has more but who means harm."""
UNFINISHED = "the connection ended before the answer was whole"


class TooManyUnanswered(Exception):
    """More requests are under way on one connection than are kept."""


class Half:
    """A Half is a message that is under way."""

    __slots__ = ("_body", "counts", "headers", "size")

    def __init__(self, headers: Headers = ()) -> None:
        self.headers = headers
        self.size = 0
        self._body = bytearray()
        self.counts: MessageCount | None = None
        """What counts the messages in it."""

    def take(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next piece of the body."""
        self.size += len(data)
        if (room := BODY_LIMIT_BYTES - len(self._body)) > 0:
            self._body += data[:room]
        if self.counts is not None:
            self.counts.take(data)

    def message(self) -> HttpMessage:
        messages = self.counts.count if self.counts is not None else None
        return HttpMessage(self.headers, self.size, bytes(self._body), messages)


class Draft:
    """A Draft is a request whose head has come."""

    __slots__ = (
        "_began_at", "_clock", "_tell", "answer", "began_s", "failure", "grpc_status", "id", "is_open", "is_told",
        "method", "path", "protocol", "request", "status", "took_s", "waited_s",
    )  # fmt: skip

    def __init__(self, tell: Tell, clock: Clock, protocol: str, method: str, path: str, headers: Headers) -> None:
        self._tell, self._clock = tell, clock
        self.id: int | None = None
        """Given when it is told first."""
        self.method, self.path = method, path
        self.request, self.answer = Half(headers), Half()
        self.protocol = protocol
        if _is_grpc(headers):
            self.protocol = "grpc"
            self.request.counts, self.answer.counts = MessageCount(grpc_frame), MessageCount(grpc_frame)
        self._began_at = clock()
        self.began_s = time.time() - (time.perf_counter() - self._began_at)
        self.waited_s: float | None = None
        self.took_s = 0.0
        self.status: int | None = None
        self.grpc_status: int | None = None
        self.failure: str | None = None
        self.is_open = False
        self.is_told = False

    def begin_answer(self, status: int, headers: Headers) -> None:
        """Note the answer's head. A stream of events is told already."""
        self.status, self.answer.headers = status, headers
        self.waited_s = self.took_s = self._clock() - self._began_at
        if any(name.lower() == "content-type" and value.startswith("text/event-stream") for name, value in headers):
            self.tell_open()

    def take_answer(self, data: bytes | bytearray | memoryview) -> None:
        self.took_s = self._clock() - self._began_at
        self.answer.take(data)

    def tell_open(self) -> None:
        """Tell of it now, because its end may be far away."""
        self.is_open = True
        self._tell(self)

    def end(self, failure: str | None = None) -> None:
        """Tell of it as it is: it took until the last byte of its answer, or until now where there is none."""
        if self.is_told:
            return
        self.is_told, self.is_open = True, False
        self.failure = failure
        if self.waited_s is None:
            self.took_s = self._clock() - self._began_at
        self._tell(self)

    def record(self, number: int, port: int, local_port: int) -> WatchedRequest:
        """Return what is told of it."""
        return WatchedRequest(
            id=number,
            port=port,
            local_port=local_port,
            protocol=self.protocol,
            method=self.method,
            path=self.path,
            began_s=self.began_s,
            waited_s=self.waited_s,
            took_s=self.took_s,
            status=self.status,
            grpc_status=self.grpc_status,
            request=self.request.message(),
            answer=self.answer.message(),
            failure=self.failure,
            is_open=self.is_open,
        )


def _is_grpc(headers: Headers) -> bool:
    return any(name.lower() == "content-type" and value.startswith("application/grpc") for name, value in headers)
