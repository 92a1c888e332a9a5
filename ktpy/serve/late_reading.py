"""What passes watched connections is read a little later, several pieces at one go.

A request does not wait for its own reading then, and the processor reads many in half the time of as many single ones.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from ktpy.inspect.draft import Clock
from ktpy.link.taps import Tap

LATE_S: Final = 0.02
"""So much later a piece is read, at most."""
LIMIT_BYTES: Final = 1 << 20
"""More is read at once."""


class LateReading:
    """A LateReading holds the pieces of all connections in the order in which they came."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._pieces: list[tuple[Callable[[bytes], None], bytes, float]] = []
        """What reads each, the piece, and when it came."""
        self._bytes = 0
        self._came_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def tap(self, make: Callable[[Clock], Tap]) -> Tap:
        """Return a tap in the place of the one that `make` makes, with a clock that tells when a piece came."""
        return _LateTap(self._hold, make(lambda: self._came_at))

    def _hold(self, read: Callable[[bytes], None], piece: bytes) -> None:
        self._pieces.append((read, piece, self._clock()))
        self._bytes += len(piece)
        if self._bytes > LIMIT_BYTES:
            self.read()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATE_S, self.read)

    def read(self) -> None:
        """Read all that is held."""
        pieces = self._pieces
        self.forget()
        for read, piece, self._came_at in pieces:
            read(piece)

    def forget(self) -> None:
        """Drop what is held."""
        self._pieces, self._bytes = [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _LateTap:
    def __init__(self, hold: Callable[[Callable[[bytes], None], bytes], None], tap: Tap) -> None:
        self._hold, self._tap = hold, tap

    def asked(self, data: bytes) -> None:
        self._hold(self._tap.asked, data)

    def answered(self, data: bytes) -> None:
        self._hold(self._tap.answered, data)

    def ended(self) -> None:
        self._hold(lambda _: self._tap.ended(), b"")
