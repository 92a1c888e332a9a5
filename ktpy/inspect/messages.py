"""Counts the messages in streams of frames: those of gRPC and of WebSocket."""

from collections.abc import Callable

HeadSize = Callable[[bytes], tuple[int, int, bool] | None]
"""Reads the head of a frame: its length, that of what follows, and whether a message ends with it; None: too short."""


class MessageCount:
    """A MessageCount counts the messages in a stream of frames."""

    __slots__ = ("_head", "_head_size", "_skip", "count")

    def __init__(self, head_size: HeadSize) -> None:
        self._head_size = head_size
        self._head = b""
        self._skip = 0
        self.count = 0

    def take(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next piece of the stream."""
        at = 0
        while at < len(data) or (self._head and not self._skip):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            here = self._head + bytes(data[at : at + 14 - len(self._head)])
            if (found := self._head_size(here)) is None:
                self._head = here
                return
            length, self._skip, ends = found
            at += length - len(self._head)
            self._head = b""
            self.count += ends


def grpc_frame(head: bytes) -> tuple[int, int, bool] | None:
    """Read a Length-Prefixed-Message of gRPC over HTTP/2."""
    return None if len(head) < 5 else (5, int.from_bytes(head[1:5]), True)


def websocket_frame(head: bytes) -> tuple[int, int, bool] | None:
    """Read a frame of RFC 6455, section 5.2. Control frames are no messages."""
    if len(head) < 2:
        return None
    length, mask = head[1] & 0x7F, 4 if head[1] & 0x80 else 0
    more = {126: 2, 127: 8}.get(length, 0)
    if len(head) < 2 + more:
        return None
    size = int.from_bytes(head[2 : 2 + more]) if more else length
    is_data, is_last = not head[0] & 0x08, bool(head[0] & 0x80)
    return 2 + more, mask + size, is_data and is_last
