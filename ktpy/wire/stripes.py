"""A connection whose bytes go over several SSH channels, its stripes: what laptop and agent say on each of them. Pure.

A stream is cut into frames, which are numbered, and each goes over whichever stripe has room. On a stripe the numbers
rise, so the next frame of the stream is always the first one of some stripe: a receiver takes it from there, and reads
no further on stripes that are ahead. Nothing is sorted, and a sender that is too fast waits for the channel's window.

The connection begins with an `Opening` (`ktpy.wire.flows`) on one stripe, to which the agent says the errno of
connect(2); each further stripe begins with one of its own. An empty frame ends a stream. Once both have ended, the
stripes may carry other connections. If they end before their stream, the connection is reset.
"""

import struct
from typing import Final

MOST_BYTES: Final = 1 << 20
"""A receiver takes none that is longer."""
WIDE_AFTER_BYTES: Final = 1 << 20
"""A connection that has carried so much one way gets further stripes."""

_HEADER: Final = struct.Struct("!II")
_ANSWER: Final = struct.Struct("!I")
HEADER_BYTES: Final = _HEADER.size
FRAME_BYTES: Final = (64 << 10) - HEADER_BYTES
"""A frame holds no more: with its header it is two SSH packets. What begins on a stripe that becomes slow holds up the
others."""
ANSWER_BYTES: Final = _ANSWER.size
_NUMBERS: Final = (1 << 32) - 1
_END: Final = 0


def answer(error: int) -> bytes:
    """Render what has come of connecting: an errno, 0 for success."""
    return _ANSWER.pack(error)


def parse_answer(data: bytes | bytearray) -> int:
    """Return the errno in ANSWER_BYTES."""
    error: int = _ANSWER.unpack(data)[0]
    return error


class Outgoing:
    """An Outgoing numbers the frames of one direction."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def header(self, length: int) -> bytes:
        """Return what goes before a frame of this length, which is the next one."""
        number, self._next = self._next, self._next + 1 & _NUMBERS
        return _HEADER.pack(number, length)

    def end(self) -> bytes:
        """Return the frame that ends the stream."""
        return self.header(_END)


class Incoming:
    """An Incoming puts the frames of one direction together. Stripes are known by what is hashable."""

    __slots__ = ("_current", "_left", "_next", "_unread", "has_ended")

    def __init__(self) -> None:
        self.has_ended = False
        self._next = self._left = 0
        self._current: object = None
        """The stripe on which a frame has begun to come, of which `_left` bytes have not."""
        self._unread: dict[object, bytearray] = {}

    def add(self, stripe: object) -> None:
        """Have another stripe."""
        self._unread[stripe] = bytearray()

    def feed(self, stripe: object, data: bytes | bytearray) -> bytes:
        """Return what of the stream there is now. Raises ValueError for a frame that is too long."""
        self._unread[stripe] += data
        pieces: list[bytearray] = []
        while not self.has_ended and self._begin():
            unread = self._unread[self._current]
            piece = unread[: self._left]
            if not piece:
                break
            del unread[: self._left]
            self._left -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _begin(self) -> bool:
        """Return whether a frame is under way; begin the next one if it is there."""
        if self._left:
            return True
        for stripe, unread in self._unread.items():
            if len(unread) < HEADER_BYTES:
                continue
            number, length = _HEADER.unpack_from(unread)
            if number != self._next:
                continue
            del unread[:HEADER_BYTES]
            self._next = self._next + 1 & _NUMBERS
            if length > MOST_BYTES:
                raise ValueError(f"a frame of {length} bytes is too long")
            self._current, self._left, self.has_ended = stripe, length, length == _END
            return not self.has_ended
        return False

    def is_ahead(self, stripe: object) -> bool:
        """Return whether nothing more is to be read from a stripe for now: others have to come before."""
        if self._left and stripe is self._current:
            return False
        return len(self._unread[stripe]) >= HEADER_BYTES

    def drop(self, stripe: object) -> bool:
        """Note that a stripe has ended; return whether the stream may still come to its end."""
        unread = self._unread[stripe]
        if self.has_ended:
            return True
        if not self.is_ahead(stripe):
            del self._unread[stripe]
            if unread or (self._left and self._current is stripe):
                return False
        return not all(map(self.is_ahead, self._unread))

    def take_rest(self, stripe: object) -> bytes:
        """Return what has come on a stripe after the end of the stream."""
        return bytes(self._unread[stripe])
