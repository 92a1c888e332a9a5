"""What passes watched connections is read a little later, several pieces at one go.

A request does not wait for its own reading then, nor much for that of others, and the processor reads many in half the
time of as many single ones.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ktpy.inspect.draft import Clock
from ktpy.link.taps import Tap

LATE_S: Final = 0.1
"""So much later a piece is read, at most."""
TURN_S: Final = 0.0001
"""A request waits this long at most for the reading of others, and for a piece that takes longer."""
LIMIT_BYTES: Final = 1 << 20
"""More is not held."""


class LateReading:
    """A LateReading holds the pieces of all connections in the order in which they came."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._pieces: deque[tuple[Callable[[bytes], None], bytes, float]] = deque()
        """What reads each, the piece, and when it came."""
        self._bytes = 0
        self._came_at = 0.0
        self._next: asyncio.Handle | None = None

    def tap(self, make: Callable[[Clock], Tap]) -> Tap:
        """Return a tap in the place of the one that `make` makes, with a clock that tells when a piece came."""
        return _LateTap(self._hold, make(lambda: self._came_at))

    def _hold(self, read: Callable[[bytes], None], piece: bytes) -> None:
        self._pieces.append((read, piece, self._clock()))
        self._bytes += len(piece)
        while self._bytes > LIMIT_BYTES:
            self._read_one()
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(LATE_S, self._read_some)

    def _read_some(self) -> None:
        """Read for TURN_S, and go on when the event loop has done what else is to be done."""
        ends_at = self._clock() + TURN_S
        while self._pieces and self._clock() < ends_at:
            self._read_one()
        self._next = asyncio.get_running_loop().call_soon(self._read_some) if self._pieces else None

    def _read_one(self) -> None:
        read, piece, self._came_at = self._pieces.popleft()
        self._bytes -= len(piece)
        read(piece)

    def forget(self) -> None:
        """Drop what is held."""
        self._pieces.clear()
        self._bytes = 0
        if self._next is not None:
            self._next.cancel()
            self._next = None


class _LateTap:
    def __init__(self, hold: Callable[[Callable[[bytes], None], bytes], None], tap: Tap) -> None:
        self._hold, self._tap = hold, tap

    def asked(self, data: bytes) -> None:
        self._hold(self._tap.asked, data)

    def answered(self, data: bytes) -> None:
        self._hold(self._tap.answered, data)

    def ended(self) -> None:
        self._hold(lambda _: self._tap.ended(), b"")
