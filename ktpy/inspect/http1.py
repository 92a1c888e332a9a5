"""Reads the requests and answers of a connection of HTTP/1.1 (RFC 9112), from what passes in each direction."""

import re
from collections import deque
from collections.abc import Iterable
from functools import lru_cache

import h11

from ktpy.inspect.draft import UNANSWERED_LIMIT, UNFINISHED, Clock, Draft, Tell, TooManyUnanswered
from ktpy.inspect.messages import MessageCount, websocket_frame
from ktpy.inspect.plain_head import plain_answer, plain_request
from ktpy.inspect.record import Headers

HEAD_LIMIT_BYTES = 128 << 10
_SWITCHING_PROTOCOLS = 101
_Upgrade = tuple[tuple[bytes, bytes], ...]
"""The headers of a request by which it may make the connection another one."""
_REQUEST_LINE = re.compile(rb"[A-Z]{3,16} [!-~]{1,8192} HTTP/1\.[01]\r\n")


class UnexpectedAnswer(Exception):
    """The server spoke though nobody had asked."""


class _Unanswered:
    """An _Unanswered is a request that is not answered yet, or not to the end."""

    __slots__ = ("_upgrade", "draft", "reader")

    def __init__(self, draft: Draft, upgrade: _Upgrade) -> None:
        self.draft, self._upgrade = draft, upgrade
        self.reader: h11.Connection | None = None
        """What reads the answer, where it is not a plain one."""

    def read(self, data: bytes) -> h11.Connection:
        """Return the reader, which has taken the data: empty where there will be no more."""
        if self.reader is None:
            self.reader = h11.Connection(h11.CLIENT, HEAD_LIMIT_BYTES)
            self.reader.send(_as_asked(self.draft.method, self._upgrade))
        self.reader.receive_data(data)
        return self.reader


@lru_cache(maxsize=64)
def _as_asked(method: str, upgrade: _Upgrade) -> h11.Request:
    """Return what there is to know of a request to read its answer."""
    return h11.Request(method=method, target="/", headers=[(b"host", b"-"), *upgrade])


class Http1:
    """An Http1 reads one connection. Its methods raise h11.ProtocolError and UnexpectedAnswer for what is no HTTP."""

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell, self._clock = tell, clock
        self._asked: Draft | None = None
        """The request whose body is under way."""
        self._asking: h11.Connection | None = None
        """What reads it, where it is not a plain one."""
        self._asked_left = self._answered_left = 0
        """So much of the body of a plain request is to come, and of a plain answer."""
        self._answering: deque[_Unanswered] = deque()
        self._upgraded: Draft | None = None
        """The request after which the connection speaks something else."""

    @property
    def is_one_whole_request(self) -> bool:
        """Whether exactly one request has come, to its end, and no answer."""
        return len(self._answering) == 1 and self._asked is None and self._asking is None

    def asked(self, data: bytes) -> None:
        """Read what the client sent."""
        if self._upgraded is not None:
            self._upgraded.request.take(data)
            return
        while data:
            if self._asked is not None and self._asking is None:
                self._asked.request.take(data[: self._asked_left])
                data, self._asked_left = data[self._asked_left :], max(self._asked_left - len(data), 0)
            elif self._asking is None and (plain := plain_request(data)) is not None:
                head, data = plain
                self._begin(head.method, head.path, head.protocol, head.headers)
                self._asked_left = head.body_bytes
            else:
                data = self._read_request(data)
            if self._asking is None and not self._asked_left:
                self._asked = None

    def _read_request(self, data: bytes) -> bytes:
        """Return what follows the request, once that has ended."""
        if self._asking is None:
            self._asking = h11.Connection(h11.SERVER, HEAD_LIMIT_BYTES)
        self._asking.receive_data(data)
        while True:
            match self._asking.next_event():
                case h11.Request() as head:
                    protocol = f"http/{head.http_version.decode()}"
                    method, path = head.method.decode(), head.target.decode("latin-1")
                    upgrade = tuple(
                        (name, value) for name, value in head.headers if name in (b"upgrade", b"connection")
                    )
                    self._begin(method, path, protocol, _text(head.headers.raw_items()), upgrade)
                case h11.Data(data=piece) if self._asked is not None:
                    self._asked.request.take(piece)
                case h11.EndOfMessage():
                    rest, _ = self._asking.trailing_data
                    self._asking = None
                    return bytes(rest)
                case _:
                    return b""

    def _begin(self, method: str, path: str, protocol: str, headers: Headers, upgrade: _Upgrade = ()) -> None:
        if len(self._answering) >= UNANSWERED_LIMIT:
            raise TooManyUnanswered
        self._asked = Draft(self._tell, self._clock, protocol, method, path, headers)
        self._answering.append(_Unanswered(self._asked, upgrade))

    def answered(self, data: bytes) -> None:
        """Read what the server sent."""
        if self._upgraded is not None:
            self._upgraded.take_answer(data)
            return
        while data:
            if not self._answering:
                raise UnexpectedAnswer
            draft, reader = self._answering[0].draft, self._answering[0].reader
            if self._answered_left:
                draft.take_answer(data[: self._answered_left])
                data, self._answered_left = data[self._answered_left :], max(self._answered_left - len(data), 0)
            elif reader is None and (plain := plain_answer(data, draft.method)) is not None:
                head, data = plain
                draft.begin_answer(head.status, head.headers)
                self._answered_left = head.body_bytes
            else:
                data = self._read_answer(draft, self._answering[0].read(data))
                continue
            if not self._answered_left:
                self._answering.popleft()
                draft.end()

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
        if self._asking is not None:
            draft.request.take(self._asking.trailing_data[0])
        self._upgraded = draft
        draft.tell_open()

    def ended(self) -> None:
        """Tell of what is left, because the connection has ended: for some answers that is the end (HTTP/1.0)."""
        if self._upgraded is not None:
            self._upgraded.end()
            return
        if self._answering and not self._answered_left:
            first = self._answering[0]
            try:
                self._read_answer(first.draft, first.read(b""))
            except h11.RemoteProtocolError:
                first.draft.end(UNFINISHED)
        for unanswered in self._answering:
            unanswered.draft.end(UNFINISHED)


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


def _text(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
