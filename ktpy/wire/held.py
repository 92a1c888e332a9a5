"""What laptop and agent say about a program in a dev container that outlives the link. Pure.

The first channel that asks for it (`ktpy.wire.dev.Exec.is_held`) starts the program, a later one with the same key goes
on with it. Each end counts the bytes of its frames, and holds those that the other may not have: a channel begins with
how far each got (RESUME), and what is missing is said again. So every frame arrives, in order, and none twice.
"""

import struct
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

INPUT: Final = 1
"""What the program reads; nothing is its end. From the laptop."""
OUTPUT: Final = 2
ERRORS: Final = 3
"""What it has written to standard output, or a terminal, and to standard error. From the agent."""
SIZE: Final = 4
"""Columns and lines of the laptop's terminal."""
EXIT: Final = 5
"""One byte, as a shell has a program's exit code, after all that it has written. From the agent."""
RESUME: Final = 16
"""The first frame of either end over a channel: a `_Place`. This and what follows is neither counted nor held."""
RECEIVED: Final = 17
"""So many bytes of the other's frames have been taken, and need not be held."""
INTERRUPT: Final = 18
"""Send SIGINT to the program and its children. From the laptop."""
HANG_UP: Final = 19
"""The laptop wants no more: a program that still runs gets SIGHUP."""
GONE: Final = 20
"""There is no such program any more. From the agent."""

RING_BYTES: Final = 1 << 20
"""Who holds so much waits; a terminal that nobody looks at forgets the oldest instead."""
ACKNOWLEDGE_BYTES: Final = 256 << 10
"""Each acknowledgement is a packet that passes the API server."""
MAX_FRAME_BYTES: Final = 256 << 10
PATIENCE_S: Final = 600.0
"""So long a program waits for its laptop to come back, by the agent's monotonic clock, and a laptop for its link."""

_HEAD: Final = struct.Struct("!BI")
_SIZE: Final = struct.Struct("!HH")
_POSITION: Final = struct.Struct("!Q")
_PLACE: Final = struct.Struct("!QQQ")


class Frame(NamedTuple):
    """A Frame is one thing that is said."""

    kind: int
    content: bytes = b""

    def encoded(self) -> bytes:
        return _HEAD.pack(self.kind, len(self.content)) + self.content


def size_content(columns: int, lines: int) -> bytes:
    """Render a SIZE. More than a terminal can have is its most."""
    return _SIZE.pack(min(columns, 0xFFFF), min(lines, 0xFFFF))


def parse_size(content: bytes) -> tuple[int, int]:
    """Read columns and lines. Raises ValueError for what is no SIZE."""
    if len(content) != _SIZE.size:
        raise ValueError(f"a size has {len(content)} bytes")
    columns, lines = _SIZE.unpack(content)
    return columns, lines


class Account:
    """An Account is what one end has said and heard, over however many channels."""

    def __init__(self, ring_bytes: int = RING_BYTES) -> None:
        self.is_resumed = False
        """Whether the other end has said over this channel how far it got; until then nothing is sent."""
        self.waiting_bytes = 0
        """What has been heard, but not been taken by whom it is for; whoever owns the account keeps this true."""
        self.missed_bytes = 0
        """What the other end has forgotten."""
        self._ring_bytes = ring_bytes
        self._held: deque[bytes] = deque()
        self._first = self._sent = self._taken = 0
        self._received = self._told = 0
        self._unread = b""

    @property
    def is_full(self) -> bool:
        """Whether to wait until the other end has taken more."""
        return self._sent - self._taken >= self._ring_bytes

    def say(self, kind: int, content: bytes = b"") -> bytes:
        """Note a frame that is held; return what to send of it now."""
        frame = Frame(kind, content).encoded()
        self._held.append(frame)
        self._sent += len(frame)
        return frame if self.is_resumed else b""

    def begin(self) -> bytes:
        """Return what another channel begins with."""
        self._unread, self.is_resumed, self._told = b"", False, self._received - self.waiting_bytes
        return Frame(RESUME, _PLACE.pack(self._first, self._received, self._told)).encoded()

    def rest(self) -> bytes:
        """Return what the other end lacks, once it has said how far it got."""
        return b"".join(self._held)

    def forget_oldest(self) -> None:
        """Hold no more than the ring. The other end learns of it by the next channel."""
        while self._held and self._sent - self._first > self._ring_bytes:
            self._drop_first()
        self._taken = max(self._taken, self._first)

    def acknowledgement(self) -> bytes:
        """Return what to send when something has been taken: nothing, as a rule."""
        taken = self._received - self.waiting_bytes
        if taken - self._told < ACKNOWLEDGE_BYTES:
            return b""
        self._told = taken
        return Frame(RECEIVED, _POSITION.pack(taken)).encoded()

    def hear(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes, however it was cut, but for acknowledgements.

        Raises ValueError for what no end of ours says.
        """
        data, self._unread, place = self._unread + data, b"", 0
        while len(data) - place >= _HEAD.size:
            kind, length = _HEAD.unpack_from(data, place)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame has {length} bytes")
            end = place + _HEAD.size + length
            if len(data) < end:
                break
            if kind < RESUME:
                self._received += end - place
            yield from self._frame(kind, data[place + _HEAD.size : end])
            place = end
        self._unread = data[place:]

    def _frame(self, kind: int, content: bytes) -> Iterator[Frame]:
        try:
            if kind == RECEIVED:
                self._forget(*_POSITION.unpack(content))
                return
            if kind == RESUME:
                self._resume(*_PLACE.unpack(content))
        except struct.error as exc:
            raise ValueError(f"a place cannot be read: {exc}") from exc
        yield Frame(kind, content)

    def _resume(self, first: int, received: int, taken: int) -> None:
        self._drop(received)
        self._forget(taken)
        self.missed_bytes += max(0, first - self._received)
        self._received = self._told = max(self._received, first)
        self._told -= self.waiting_bytes
        self.is_resumed = True

    def _forget(self, taken: int) -> None:
        self._drop(taken)
        self._taken = max(self._taken, taken)

    def _drop(self, position: int) -> None:
        if position > self._sent:
            raise ValueError(f"{position} bytes are said to have arrived of {self._sent} that were sent")
        while self._held and self._first + len(self._held[0]) <= position:
            self._drop_first()

    def _drop_first(self) -> None:
        self._first += len(self._held.popleft())
