"""Reads the requests and answers of a connection of HTTP/1.1 (RFC 9112) by h11, from what passes in each direction."""

import re
from collections import deque
from collections.abc import Iterable
from functools import lru_cache

import h11

from ktpy.inspect.draft import UNANSWERED_LIMIT, UNFINISHED, Clock, Draft, Tell, TooManyUnanswered
from ktpy.inspect.messages import MessageCount, websocket_frame
from ktpy.inspect.record import Headers

HEAD_LIMIT_BYTES = 128 << 10
_SWITCHING_PROTOCOLS = 101
_REQUEST_LINE = re.compile(rb"[A-Z]{3,16} [!-~]{1,8192} HTTP/1\.[01]\r\n")


class UnexpectedAnswer(Exception):
    """The server spoke though nobody had asked."""


class Http1:
    """An Http1 reads one connection. Its methods raise h11.ProtocolError and UnexpectedAnswer for what is no HTTP."""

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell, self._clock = tell, clock
        self._asking = _reader_of_requests()
        self._asked: Draft | None = None
        self._answering: deque[tuple[Draft, h11.Connection]] = deque()
        """The requests that are not answered yet, each with what reads its answer."""
        self._upgraded: Draft | None = None
        """The request after which the connection speaks something else."""

    @property
    def is_one_whole_request(self) -> bool:
        """Whether exactly one request has come, to its end, and no answer."""
        return len(self._answering) == 1 and self._asked is None and self._asking.trailing_data == (b"", False)

    def asked(self, data: bytes) -> None:
        """Read what the client sent."""
        if self._upgraded is not None:
            self._upgraded.request.take(data)
            return
        self._asking.receive_data(data)
        while True:
            match self._asking.next_event():
                case h11.Request() as head:
                    self._begin(head)
                case h11.Data(data=piece) if self._asked is not None:
                    self._asked.request.take(piece)
                case h11.EndOfMessage():
                    rest, _ = self._asking.trailing_data
                    self._asking, self._asked = _reader_of_requests(), None
                    if rest:
                        self._asking.receive_data(rest)
                case _:
                    return

    def _begin(self, head: h11.Request) -> None:
        if len(self._answering) >= UNANSWERED_LIMIT:
            raise TooManyUnanswered
        headers = _text(head.headers.raw_items())
        protocol = f"http/{head.http_version.decode()}"
        method, path = head.method.decode(), head.target.decode("latin-1")
        draft = Draft(self._tell, self._clock, protocol, method, path, headers)
        reader = h11.Connection(h11.CLIENT, HEAD_LIMIT_BYTES)
        upgrade = [(name, value) for name, value in head.headers if name in (b"upgrade", b"connection")]
        reader.send(_as_asked(head.method, tuple(upgrade)))
        self._asked = draft
        self._answering.append((draft, reader))

    def answered(self, data: bytes) -> None:
        """Read what the server sent."""
        if self._upgraded is not None:
            self._upgraded.take_answer(data)
            return
        while data:
            if not self._answering:
                raise UnexpectedAnswer
            draft, reader = self._answering[0]
            reader.receive_data(data)
            data = self._read_answer(draft, reader)

    def _read_answer(self, draft: Draft, reader: h11.Connection) -> bytes:
        """Return what follows the answer, once that has ended."""
        while True:
            match reader.next_event():
                case h11.InformationalResponse(status_code=status) as head if status == _SWITCHING_PROTOCOLS:
                    self._switch(draft, head, reader.trailing_data[0])
                    return b""
                case h11.InformationalResponse():
                    pass
                case h11.Response() as head:
                    draft.begin_answer(head.status_code, _text(head.headers.raw_items()))
                case h11.Data(data=piece):
                    draft.take_answer(piece)
                case h11.EndOfMessage():
                    self._answering.popleft()
                    draft.end()
                    return bytes(reader.trailing_data[0])
                case _:
                    return b""

    def _switch(self, draft: Draft, head: h11.InformationalResponse, rest: bytes) -> None:
        headers = _text(head.headers.raw_items())
        draft.protocol = next((value.lower() for name, value in headers if name.lower() == "upgrade"), "upgraded")
        if draft.protocol == "websocket":
            draft.request.counts, draft.answer.counts = MessageCount(websocket_frame), MessageCount(websocket_frame)
        draft.begin_answer(_SWITCHING_PROTOCOLS, headers)
        draft.take_answer(rest)
        early, _ = self._asking.trailing_data
        draft.request.take(early)
        self._upgraded = draft
        draft.tell_open()

    def ended(self) -> None:
        """Tell of what is left, because the connection has ended: for some answers that is the end (HTTP/1.0)."""
        if self._upgraded is not None:
            self._upgraded.end()
            return
        if self._answering:
            draft, reader = self._answering[0]
            reader.receive_data(b"")
            try:
                self._read_answer(draft, reader)
            except h11.RemoteProtocolError:
                draft.end(UNFINISHED)
        for draft, _ in self._answering:
            draft.end(UNFINISHED)


class KeptHttp1:
    """A KeptHttp1 is an Http1 of a connection that was there before.

    It begins with the first piece that is one whole request by itself and is answered by a status line: what came
    before may be the middle of anything.
    """

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell, self._clock = tell, clock
        self._http: Http1 | None = None
        self._is_sure = False

    def asked(self, data: bytes) -> None:
        """Read what the client sent."""
        if self._is_sure and self._http is not None:
            self._http.asked(data)
            return
        self._http = None
        if _REQUEST_LINE.match(data):
            http = Http1(self._tell, self._clock)
            try:
                http.asked(data)
            except h11.ProtocolError:
                return
            self._http = http if http.is_one_whole_request else None

    def answered(self, data: bytes) -> None:
        """Read what the server sent."""
        if self._http is not None and not self._is_sure:
            self._is_sure = data.startswith(b"HTTP/1.")
            self._http = self._http if self._is_sure else None
        if self._http is not None:
            self._http.answered(data)

    def ended(self) -> None:
        """Tell of what is left."""
        if self._is_sure and self._http is not None:
            self._http.ended()


@lru_cache(maxsize=64)
def _as_asked(method: bytes, upgrade: tuple[tuple[bytes, bytes], ...]) -> h11.Request:
    """Return what there is to know of a request to read its answer."""
    return h11.Request(method=method, target="/", headers=[(b"host", b"-"), *upgrade])


def _reader_of_requests() -> h11.Connection:
    return h11.Connection(h11.SERVER, HEAD_LIMIT_BYTES)


def _text(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
