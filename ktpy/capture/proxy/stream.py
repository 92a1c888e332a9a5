"""A connection that is read piece by piece while its proxy protocol is spoken, and joined to another afterwards."""

import asyncio
from collections.abc import Callable

from ktpy.link.splice import End


class Stream(End):
    """A Stream is a connection of the proxy's. It reads no more than somebody waits for."""

    __slots__ = ("_count", "_news", "_on_lost", "_room")

    def __init__(self, count: Callable[[int], None], on_lost: Callable[["Stream"], None] = lambda _: None) -> None:
        """`count` is told of the bytes of each piece that arrives, `on_lost` of the end."""
        super().__init__()
        self._count = count
        self._on_lost = on_lost
        self._news, self._room = asyncio.Event(), asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._count(len(data))
        self._write(data)
        self._news.set()

    def eof_received(self) -> bool:
        self._news.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._news.set()
        self._room.set()
        self._on_lost(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._room.set()

    @property
    def is_full(self) -> bool:
        """Whether as much was written as may wait."""
        return self._is_full

    @property
    def has_more(self) -> bool:
        """Whether something has come that nobody has read; an end counts."""
        return bool(self._early) or self.eof or self.lost

    async def receive(self) -> bytes:
        """Return the next piece, b"" at the end of the stream. Raises ConnectionError where it was broken off."""
        while not self.has_more:
            self._news.clear()
            self.resume_reading()
            await self._news.wait()
        data, self._early = b"".join(self._early), []
        if not data and self.lost and not self.eof:
            raise ConnectionResetError("the connection was broken off") from self.error
        return data

    def unread(self, data: bytes) -> None:
        """Put back what was read too much."""
        if data:
            self._early.insert(0, data)

    def write(self, data: bytes) -> None:
        """Write what is short. Where the connection is lost, nothing is."""
        if self.transport is not None and data and not self.lost:
            self.transport.write(data)

    async def send(self, data: bytes) -> None:
        """Write, and wait until there is room for more. Raises ConnectionError where it was broken off."""
        self.write(data)
        while self._is_full and not self.lost:
            self._room.clear()
            await self._room.wait()
        if self.lost:
            raise ConnectionResetError("the connection was broken off") from self.error

    def splice(self, far: "Stream") -> None:
        """Carry everything both ways from now on, also what has come and was not read."""
        self.join(far)
        if not far.is_full:
            self.resume_reading()
