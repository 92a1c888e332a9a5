"""A poller calls back when a socket is ready. It is epoll(7), without what `selectors` adds for each event."""

import select
import socket
from collections.abc import Callable
from typing import Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

OnReady = Callable[[int], None]
"""An OnReady gets the events, which may hold EPOLLHUP and EPOLLERR too."""


class Poller:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, OnReady]] = {}

    def want(self, sock: socket.socket, events: int, on_ready: OnReady) -> None:
        """Call back for these events from now on; for none at all, hang-ups too, where there are none."""
        number = sock.fileno()
        known = self._watched.get(number)
        if not events:
            self.forget(sock)
            return
        if known is None:
            self._epoll.register(number, events)
        elif known[0] != events:
            self._epoll.modify(number, events)
        self._watched[number] = (events, on_ready)

    def forget(self, sock: socket.socket) -> None:
        """Call this before a socket is closed."""
        if self._watched.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def turn(self, timeout_s: float | None) -> None:
        """Wait until something is ready, at most that long, and call back."""
        for number, events in self._epoll.poll(timeout_s):
            if (watched := self._watched.get(number)) is not None:
                watched[1](events)

    def close(self) -> None:
        self._epoll.close()
