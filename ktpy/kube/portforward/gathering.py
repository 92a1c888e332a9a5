"""Bulk that comes through a socket is read much at a time: what each time costs does not depend on how much that is.

The kernel wakes who reads only once there is so much (SO_RCVLOWAT, socket(7)), as long as there is no pause.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Final

GATHER_BYTES: Final = 128 << 10
BULK_BYTES: Final = 1 << 20
"""So much without a pause is bulk. An answer of less is not waited for."""
PAUSE_S: Final = 0.001
"""What comes last waits for one or two of these. It is what uvloop's clock tells apart."""
GOES_ON_WITHIN_S: Final = 0.02
"""Bulk that goes on so soon after a pause is bulk from its first GATHER_BYTES on."""


class Gathering:
    """A Gathering is of the socket of one transport, and is told what was read from it."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._bytes = self._seen_bytes = 0
        """What has come since the last pause, and how much of it the timer has seen."""
        self._came_s = 0.0
        self._goes_on_until_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def came(self, count: int) -> None:
        """Note that so many bytes were read."""
        if self._timer is not None:
            self._bytes += count
            return
        now_s = self._loop.time()
        is_new = now_s - self._came_s > 2 * PAUSE_S
        self._bytes, self._came_s = count + (0 if is_new else self._bytes), now_s
        if self._bytes >= (GATHER_BYTES if now_s < self._goes_on_until_s else BULK_BYTES):
            self._wait_for(GATHER_BYTES)
            self._look_later()

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self) -> None:
        self._seen_bytes = self._bytes
        self._timer = self._loop.call_later(PAUSE_S, self._look)

    def _look(self) -> None:
        if self._bytes > self._seen_bytes:
            self._look_later()
            return
        self._timer, self._bytes = None, 0
        self._goes_on_until_s = self._loop.time() + GOES_ON_WITHIN_S
        self._wait_for(1)

    def _wait_for(self, count: int) -> None:
        with suppress(OSError):  # of a system without it
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
