"""One connection that is watched: finds out what it speaks, and stops reading it where that is not understood."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

import h11

from ktpy.inspect.draft import Clock, Tell, TooManyUnanswered
from ktpy.inspect.http1 import Http1, KeptHttp1, UnexpectedAnswer
from ktpy.inspect.http2 import PREFACE, Http2

_TLS_HANDSHAKE = b"\x16\x03"
"""RFC 8446, section 5.1: the type of the record, and the first byte of its version."""
_EARLY_LIMIT_BYTES = 64 << 10

logger = logging.getLogger(__name__)


class HttpReader(Protocol):
    """An HttpReader reads what passes; its methods raise for what it does not understand."""

    def asked(self, data: bytes) -> None: ...
    def answered(self, data: bytes) -> None: ...
    def ended(self) -> None: ...


class WatchedConnection:
    """A WatchedConnection is told what passes, after it has passed. Its methods never raise."""

    def __init__(
        self, tell: Tell, give_up: Callable[[str], None], clock: Clock = time.perf_counter, *, is_new: bool
    ) -> None:
        """`give_up` is told why the connection cannot be read further. Of one that is not new only HTTP/1.1 can be."""
        self._tell, self._give_up, self._clock = tell, give_up, clock
        self._reader: HttpReader | None = None if is_new else KeptHttp1(tell, clock)
        self._is_over = False
        self._first = b""
        """What the client sent, until it is known what that is."""
        self._early = b""
        """What the server sent before."""

    def asked(self, data: bytes) -> None:
        """Take what the client sent."""
        self._read(self._asked, data)

    def answered(self, data: bytes) -> None:
        """Take what the server sent."""
        self._read(self._answered, data)

    def ended(self) -> None:
        """Note that the connection has ended."""
        self._read(lambda _: self._reader.ended() if self._reader is not None else None, b"")
        self._is_over = True

    def _read(self, read: Callable[[bytes], None], data: bytes) -> None:
        if self._is_over:
            return
        try:
            read(data)
        except Exception as error:  # of libraries that read what anybody may have sent
            self._is_over, self._reader = True, None
            logger.debug("a watched connection is not understood", exc_info=error)
            self._give_up(_reason(error))

    def _asked(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.asked(data)
            return
        self._first += data
        if self._first.startswith(_TLS_HANDSHAKE):
            raise TlsFound
        if len(self._first) < len(PREFACE) and PREFACE.startswith(self._first):
            return
        self._reader = (Http2 if self._first.startswith(PREFACE) else Http1)(self._tell, self._clock)
        first, early, self._first, self._early = self._first, self._early, b"", b""
        if early:
            self._reader.answered(early)
        self._reader.asked(first)

    def _answered(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.answered(data)
            return
        self._early += data
        if len(self._early) > _EARLY_LIMIT_BYTES:
            raise UnexpectedAnswer


class TlsFound(Exception):
    """What passes is encrypted."""


def _reason(error: Exception) -> str:
    match error:
        case TlsFound():
            return "it is TLS"
        case TooManyUnanswered():
            return "too many of its requests are not answered"
        case UnexpectedAnswer():
            return "its server speaks first"
        case h11.ProtocolError():
            return f"it is no HTTP/1.1 ({error})"
    return f"it is no HTTP ({type(error).__name__})"
