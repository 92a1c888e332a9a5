"""A pipe by which the kernel moves bytes from one socket to another (splice(2))."""

import fcntl
import os
import socket
from contextlib import suppress
from typing import Final

SPLICE_BYTES: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031
"""fcntl(2)"""


class Pipe:
    """A Pipe is empty between two turns."""

    def __init__(self) -> None:
        self._out, self._into = os.pipe2(os.O_CLOEXEC)
        with suppress(OSError):  # without, it takes less at a time
            fcntl.fcntl(self._into, _F_SETPIPE_SZ, SPLICE_BYTES)

    def close(self) -> None:
        os.close(self._out)
        os.close(self._into)

    def fill(self, source: socket.socket, most_bytes: int = SPLICE_BYTES) -> int:
        """Take what a socket has; return how many bytes, 0 where there are none now, or no more.

        Raises the socket's error: the kernel tells it once.
        """
        try:
            return os.splice(source.fileno(), self._into, most_bytes, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return 0

    def drain(self, sink: socket.socket | None, count: int) -> bytes:
        """Give all that there is to a socket; return what it does not take."""
        with suppress(OSError):  # there is no room in it, or it has ended
            while count and sink is not None:
                count -= os.splice(self._out, sink.fileno(), count, flags=os.SPLICE_F_NONBLOCK)
        rest = b""
        while len(rest) < count:
            rest += os.read(self._out, count - len(rest))
        return rest
