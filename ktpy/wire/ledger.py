"""Both ends of a connection that outlives its link keep account of its bytes, each direction by itself. Pure.

A sender holds what the receiver has not acknowledged. After a loss the receiver says how far it got, and the sender
goes on from there: so every byte arrives, in order, and none twice (the idea of Eternal Terminal's backed streams).
What is held is bounded: a sender that holds so much waits for the next acknowledgement. If it comes, the link is
alive, and the sender too fast: it goes on at its speed without holding anything, and so gives up the promise until
everything has been acknowledged. If none comes, the link is lost, and nothing else.
"""

from collections import deque
from typing import Final

RING_BYTES: Final = 2 << 20
"""A direction of a connection that holds so much waits."""
TOTAL_BYTES: Final = 64 << 20
"""When all connections of a laptop together hold so much at one end, those wait there that hold MIN_RING_BYTES."""
MIN_RING_BYTES: Final = 64 << 10
PIECE_COST_BYTES: Final = 64
"""What a piece takes beside its bytes."""
ACKNOWLEDGE_S: Final = 0.02
"""What has arrived is acknowledged this soon."""
LITTLE_BYTES: Final = 16 << 10
LITTLE_TURNS: Final = 10
"""Less than LITTLE_BYTES waits for so many turns of ACKNOWLEDGE_S: questions and answers are not doubled by notes."""


class Budget:
    """A Budget is the memory that several senders share."""

    __slots__ = ("left_bytes",)

    def __init__(self, total_bytes: int = TOTAL_BYTES) -> None:
        self.left_bytes = total_bytes


class Outgoing:
    """An Outgoing is one direction as its sender sees it. Positions count its bytes from 0."""

    __slots__ = ("_budget", "_first", "_held_bytes", "_pieces", "_ring_bytes", "acknowledged", "is_kept", "sent")

    def __init__(self, budget: Budget, ring_bytes: int = RING_BYTES) -> None:
        self.sent = self.acknowledged = 0
        self.is_kept = True
        """Whether everything that is not acknowledged is held."""
        self._budget, self._ring_bytes = budget, ring_bytes
        self._pieces: deque[bytes] = deque()
        self._first = 0
        """The position of the first byte that is held."""
        self._held_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether the sender has to wait for an acknowledgement."""
        held_bytes = self._held_bytes
        return held_bytes >= self._ring_bytes or (self._budget.left_bytes <= 0 and held_bytes >= MIN_RING_BYTES)

    def take(self, data: bytes) -> None:
        """Note that `data` is sent next."""
        self.sent += len(data)
        if self.is_kept:
            cost = len(data) + PIECE_COST_BYTES
            self._held_bytes += cost
            self._budget.left_bytes -= cost
            self._pieces.append(data)

    def take_unheld(self, count: int) -> None:
        """Note that so many bytes are sent next. Only where the promise is given up."""
        self.sent += count

    def acknowledge(self, received: int) -> bool:
        """Note that the receiver has everything before this position; return whether that gives up the promise.

        Raises ValueError for what was never sent.
        """
        if received > self.sent:
            raise ValueError(f"{received} bytes are acknowledged of {self.sent} that were sent")
        if received <= self.acknowledged:
            return False
        is_too_fast = self.is_full and received < self.sent
        self._drop(received)
        if is_too_fast:
            self.is_kept = False
            self.release()
        return is_too_fast

    def _drop(self, received: int) -> None:
        self.acknowledged = received
        while self._pieces and self._first + len(self._pieces[0]) <= received:
            piece = self._pieces.popleft()
            self._first += len(piece)
            self._held_bytes -= len(piece) + PIECE_COST_BYTES
            self._budget.left_bytes += len(piece) + PIECE_COST_BYTES
        if received == self.sent and not self.is_kept:
            self.is_kept, self._first = True, received

    def resume(self, received: int) -> list[bytes] | None:
        """Return what is to be sent again to a receiver that has so much; None where that is not held any more.

        Raises ValueError for a position that cannot be: the receiver has had more, or less was ever sent.
        """
        if received < self.acknowledged:
            raise ValueError(f"{received} bytes are said to have arrived, and {self.acknowledged} were before")
        if received > self.sent:
            raise ValueError(f"{received} bytes are said to have arrived of {self.sent} that were sent")
        self._drop(received)
        if not self.is_kept:
            return None
        pieces = list(self._pieces)
        if pieces:
            pieces[0] = pieces[0][received - self._first :]
        return pieces

    def release(self) -> None:
        """Hold nothing any more."""
        self._pieces.clear()
        self._budget.left_bytes += self._held_bytes
        self._held_bytes = 0


class Incoming:
    """An Incoming is one direction as its receiver sees it."""

    __slots__ = ("_told", "_turns", "end", "received")

    def __init__(self) -> None:
        self.received = self._told = self._turns = 0
        self.end: int | None = None
        """Where the sender's stream ends, once it has said so."""

    def end_at(self, position: int) -> None:
        """Note where the stream ends. Raises ValueError where it cannot."""
        if position < self.received or self.end not in (None, position):
            raise ValueError(f"a stream of {self.received} bytes so far cannot end at {position}")
        self.end = position

    @property
    def is_complete(self) -> bool:
        return self.received == self.end

    def is_due(self) -> bool:
        """Return whether to acknowledge now. It is asked every ACKNOWLEDGE_S while something has arrived since."""
        self._turns += 1
        if self.received - self._told < LITTLE_BYTES and self._turns < LITTLE_TURNS:
            return False
        self._told, self._turns = self.received, 0
        return True
