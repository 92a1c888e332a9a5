"""Who watches what passes between the cluster and a local port; while nobody does, it passes as it always did."""

from collections.abc import Callable
from typing import Protocol

from ktpy.link.splice import End


class Tap(Protocol):
    """A Tap is shown what passes on one connection, each piece after it was written. Its methods may not raise."""

    def asked(self, data: bytes) -> None:
        """Take what came from the cluster."""

    def answered(self, data: bytes) -> None:
        """Take what came from the local port."""

    def ended(self) -> None:
        """Note that the connection has ended."""


MakeTap = Callable[[bool], Tap]
"""Makes the tap of a connection; it is told whether it sees it from its first byte on."""


class Taps:
    """The Taps of one local port: its connections, and a tap on each while somebody watches."""

    def __init__(self) -> None:
        self._open: dict[End, tuple[End, Tap | None]] = {}
        """By the end at the cluster: the one at the local port, and the tap."""
        self._make: MakeTap | None = None

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._open)

    def open(self, pod: End, local: End, early: bytes) -> None:
        """Note a connection that was joined. `early` is what the local port had sent before."""
        self._open[pod] = local, None
        if self._make is not None:
            tap = self._put(pod, self._make(True))
            if early:
                tap.answered(early)

    def close(self, pod: End) -> None:
        """Note that a connection has ended."""
        _, tap = self._open.pop(pod, (None, None))
        if tap is not None:
            tap.ended()

    def begin(self, make: MakeTap) -> None:
        """Put a tap on every connection from now on, in the place of what there was."""
        self._make = make
        for pod in self._open:
            self._put(pod, make(False))

    def end(self) -> None:
        """Take all taps away, without a word to them."""
        self._make = None
        for pod, (local, _) in self._open.items():
            pod.show(None)
            local.show(None)
            self._open[pod] = local, None

    def _put(self, pod: End, tap: Tap) -> Tap:
        local, _ = self._open[pod]
        self._open[pod] = local, tap
        pod.show(tap.asked)
        local.show(tap.answered)
        return tap
