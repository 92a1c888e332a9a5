"""A connection whose bytes go over several ways, its stripes: what laptop and agent say on each of them. Pure.

A stream is cut into frames, which are numbered, and each goes over whichever stripe has room. On a stripe the numbers
rise, so the next frame of the stream is always the first one of some stripe: a receiver takes it from there, and reads
no further on stripes that are ahead. Nothing is sorted, and a sender that is too fast waits for the channel's window.

The connection begins with an `Opening` (`ktpy.wire.flows`) on an SSH channel, to which the agent says the errno of
connect(2). Bulk goes over further stripes, which are SSH channels of other connections, or bare: connections to the
agent's TCP port, by port-forwards and without SSH. Each begins with an opening of its own, whose token came over the
first, and to which the agent says 0. While there are any, both sides send on these only. One is retired when both have
said that they send no more on it.

An empty frame on the first stripe ends a stream. Once both have ended, that may carry another connection,
and the agent closes the others. If the first one ends before the streams, or another one unretired, the connection is
reset.
"""

import struct
from typing import Final

MOST_BYTES: Final = 1 << 20
"""A receiver takes none that is longer."""
WIDE_AFTER_BYTES: Final = 1 << 20
"""A connection that has carried so much one way gets bare stripes."""

_HEADER: Final = struct.Struct("!II")
_ANSWER: Final = struct.Struct("!I")
HEADER_BYTES: Final = _HEADER.size
FRAME_BYTES: Final = (64 << 10) - HEADER_BYTES
"""A frame on an SSH channel holds no more: with its header it is two SSH packets."""
BARE_FRAME_BYTES: Final = 256 << 10
"""A frame on a bare stripe holds no more. What begins on one that becomes slow holds up the others."""
ANSWER_BYTES: Final = _ANSWER.size
_NUMBERS: Final = (1 << 32) - 1
_END: Final = 0
_RETIRED: Final = _HEADER.pack(0, _NUMBERS)
"""It has no number of its own."""


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

    @staticmethod
    def retire() -> bytes:
        """Return what is sent last on a stripe that is to be used no more."""
        return _RETIRED


class Incoming:
    """An Incoming puts the frames of one direction together. Stripes are known by what is hashable."""

    __slots__ = ("_current", "_left", "_next", "_unread", "has_ended", "retired")

    def __init__(self) -> None:
        self.has_ended = False
        self.retired: set[object] = set()
        """Stripes on which nothing more comes."""
        self._next = self._left = 0
        self._current: object = None
        """The stripe on which a frame has begun to come, of which `_left` bytes have not."""
        self._unread: dict[object, bytearray] = {}

    def add(self, stripe: object) -> None:
        """Have another stripe."""
        self._unread[stripe] = bytearray()

    def feed(self, stripe: object, *data: bytes | bytearray | memoryview) -> bytes:
        """Return what of the stream there is now. Raises ValueError for a frame that is too long."""
        pieces: list[memoryview] = []
        for part in data:
            self._read(stripe, memoryview(part), pieces)
        while (waiting := self._turn_of()) is not None:
            unread, self._unread[waiting] = self._unread[waiting], bytearray()
            self._read(waiting, memoryview(unread), pieces)
        return b"".join(pieces)

    def _read(self, stripe: object, view: memoryview, pieces: list[memoryview]) -> None:
        """Take frames whose turn it is from where they lie, and keep the rest."""
        unread = self._unread[stripe]
        while view and not (unread or self.has_ended):
            if not self._left and self._is_next(view):
                self._begin(stripe, view)
                view = view[HEADER_BYTES:]
                continue
            if not self._left or self._current is not stripe:
                break
            piece, view = view[: self._left], view[self._left :]
            self._left -= len(piece)
            pieces.append(piece)
        unread += view

    def _is_next(self, data: bytearray | memoryview) -> bool:
        """Return whether this begins with the header of the next frame."""
        if len(data) < HEADER_BYTES:
            return False
        number, length = _HEADER.unpack_from(data)
        return bool(number == self._next and length != _NUMBERS)  # else it is retired

    def _begin(self, stripe: object, data: memoryview) -> None:
        length: int = _HEADER.unpack_from(data)[1]
        if length > MOST_BYTES:
            raise ValueError(f"a frame of {length} bytes is too long")
        self._next = self._next + 1 & _NUMBERS
        self._current, self._left, self.has_ended = stripe, length, length == _END

    def _turn_of(self) -> object | None:
        """Return the stripe that has kept the next frame, if there is one and no other is under way."""
        if self._left or self.has_ended:
            return None
        for stripe, unread in self._unread.items():
            if unread == _RETIRED:
                unread.clear()
                self.retired.add(stripe)
        return next((stripe for stripe, unread in self._unread.items() if self._is_next(unread)), None)

    def expected(self, stripe: object) -> int:
        """Return how many bytes of the stream come next on a stripe, of the frame that has begun there."""
        return self._left if stripe is self._current and not self._unread[stripe] else 0

    def take(self, count: int) -> None:
        """Note that so many of the expected bytes were taken past `feed`, which tells what comes after them."""
        self._left -= count

    def is_ahead(self, stripe: object) -> bool:
        """Return whether nothing more is to be read from a stripe for now: others have to come before."""
        if self._left and stripe is self._current:
            return False
        return len(self._unread[stripe]) >= HEADER_BYTES

    def drop(self, stripe: object) -> bool:
        """Note that nothing more comes on a stripe; return whether that is between two frames, as far as is known."""
        self.retired.discard(stripe)
        if self.is_ahead(stripe):
            return True
        return not self._unread.pop(stripe) and not (self._left and stripe is self._current)

    def take_rest(self, stripe: object) -> bytes:
        """Return what has come on a stripe after the end of the stream."""
        return bytes(self._unread[stripe])
