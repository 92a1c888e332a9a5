"""What reads and writes bytes, be it asyncio's or asyncssh's."""

from typing import Protocol


class ByteReader(Protocol):
    """A StreamReader of asyncio or an SSHReader of asyncssh."""

    async def read(self, n: int = -1, /) -> bytes: ...


class ByteWriter(Protocol):
    """A StreamWriter of asyncio or an SSHWriter of asyncssh."""

    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...
