"""A delay line: bytes go in with the time they are due and come out no earlier, in order. Pure; times in seconds.

One time stamp per chunk, never a sleep per chunk: sleeping would cap the bandwidth at one chunk per delay.
"""

from collections import deque


class DelayLine:
    """The bytes under way in one direction of one connection, bounded."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: deque[tuple[float, bytes]] = deque()
        self.size_bytes = 0

    def put(self, chunk: bytes, due: float) -> None:
        """`due` never falls behind an earlier chunk's: a shorter delay does not let bytes overtake."""
        if self._chunks:
            due = max(due, self._chunks[-1][0])
        self._chunks.append((due, chunk))
        self.size_bytes += len(chunk)

    @property
    def is_full(self) -> bool:
        return self.size_bytes >= self._limit_bytes

    @property
    def next_due(self) -> float | None:
        return self._chunks[0][0] if self._chunks else None

    def take_due(self, now: float) -> bytes | None:
        """The next chunk if its time has come."""
        if not self._chunks or self._chunks[0][0] > now:
            return None
        _, chunk = self._chunks.popleft()
        self.size_bytes -= len(chunk)
        return chunk
