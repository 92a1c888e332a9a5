"""A poller calls back when a socket is ready. It is epoll(7), without what `selectors` adds for each event."""

import select
import socket
from collections.abc import Callable
from typing import Final

READ_BYTES: Final = 120 << 10
"""So much is read at a time. For 128 KB and more malloc(3) asks the kernel, and gives it back, each time."""
READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

OnReady = Callable[[int], None]
"""An OnReady gets the events, which may hold EPOLLHUP and EPOLLERR too."""


class Poller:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, OnReady]] = {}

    def want(self, sock: socket.socket | int, events: int, on_ready: OnReady) -> None:
        """Call back for these events from now on; for none at all, hang-ups too, where there are none."""
        number = sock if isinstance(sock, int) else sock.fileno()
        known = self._watched.get(number)
        if not events:
            self.forget(sock)
            return
        if known is None:
            self._epoll.register(number, events)
        elif known[0] != events:
            self._epoll.modify(number, events)
        self._watched[number] = (events, on_ready)

    def forget(self, sock: socket.socket | int) -> None:
        """Call this before a socket is closed."""
        number = sock if isinstance(sock, int) else sock.fileno()
        if self._watched.pop(number, None) is not None:
            self._epoll.unregister(number)

    def turn(self, timeout_s: float | None) -> None:
        """Wait until something is ready, at most that long, and call back."""
        for number, events in self._epoll.poll(timeout_s):
            if (watched := self._watched.get(number)) is not None:
                watched[1](events)

    def close(self) -> None:
        self._epoll.close()
