"""The channel to the agent: requests, and what becomes of them."""

import asyncio
import errno
import os
import time
from collections.abc import Callable, Mapping
from typing import Final

from ktpy.aio.byte_streams import ByteReader, ByteWriter
from ktpy.errors import LinkLost, SyncFailed
from ktpy.wire.sync import frames
from ktpy.wire.sync.entries import DIGEST_BYTES, FILE, Entry
from ktpy.wire.sync.frames import FrameParser, Request, Result

_READ_BYTES: Final = 1 << 18
_ABSENT_PATH: Final = b"ktpy-asks-for-what-is-nowhere"


class Channel:
    """A Channel numbers requests, and finds whose answer a frame is. Its `reader` belongs to who calls `receive`."""

    def __init__(self, reader: ByteReader, writer: ByteWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = FrameParser()
        self._early: list[tuple[int, bytes]] = []
        self._number = 0
        self._waiting: dict[int, Callable[[int, bytes], bool]] = {}
        self._ends: dict[int, asyncio.Event] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.sent_bytes = 0
        self.received_bytes = 0

    def number(self, on_answer: Callable[[int, bytes], bool]) -> int:
        """Return the number of a request; `on_answer` gets kind and payload, and tells whether it was the last."""
        self._number += 1
        self._waiting[self._number] = on_answer
        self._idle.clear()
        return self._number

    def forget(self, number: int) -> None:
        """Expect no answer: the request was not sent, or has got its last."""
        self._waiting.pop(number, None)
        if (end := self._ends.pop(number, None)) is not None:
            end.set()
        if not self._waiting:
            self._idle.set()

    def end(self) -> None:
        """Let who waits for an answer go on: there will be none."""
        for number in list(self._waiting):
            self.forget(number)

    def is_waiting(self, number: int) -> bool:
        """Tell whether a request has yet to get its last answer."""
        return number in self._waiting

    async def answered(self, number: int) -> None:
        """Wait until a request is answered."""
        if self.is_waiting(number):
            await self._ends.setdefault(number, asyncio.Event()).wait()

    async def idle(self) -> None:
        """Wait until every request is answered."""
        await self._idle.wait()

    async def send(self, data: bytes) -> None:
        """Send; raises LinkLost."""
        self.sent_bytes += len(data)
        try:
            self._writer.write(data)
            await self._writer.drain()
        except Exception as error:
            raise _lost(error) from error

    async def receive(self) -> list[tuple[int, bytes]]:
        """Return the next frames, at least one. Raises LinkLost at the end, ValueError for what is no frame."""
        while not (early := self._early):
            try:
                data = await self._reader.read(_READ_BYTES)
            except Exception as error:
                raise _lost(error) from error
            if not data:
                raise LinkLost("The channel to the container's folder has ended.")
            self.received_bytes += len(data)
            self._early = list(self._parser.feed(data))
        self._early = []
        return early

    async def looked_through(self, rules: Mapping[str, str]) -> None:
        """Have the folder looked through, and wait until all has been told that is found. Raises LinkLost.

        It also returns when the channel ends.
        """
        number = self.number(lambda *_: True)  # requests are done in order: this one after that
        nothing = Request(number, _ABSENT_PATH, Entry(FILE, content=bytes(DIGEST_BYTES)))
        await self.send(frames.said(frames.RULES, rules=dict(rules)) + nothing.frame(frames.GET))
        await self.answered(number)

    def answer(self, kind: int, payload: bytes) -> None:
        """Give an answer to its request; raises ValueError for one that nobody waits for."""
        number = frames.number_of(payload)
        if number not in self._waiting:
            raise ValueError(f"nobody asked for {number}")
        if self._waiting[number](kind, payload):
            self.forget(number)

    async def greet(self, rules: Mapping[str, str]) -> tuple[str, float, bool]:
        """Say hello; return the folder's mark, the difference of the clocks, and whether case is folded there.

        Raises LinkLost, SyncFailed for another version.
        """
        began_ns = time.time_ns()
        await self.send(frames.said(frames.HELLO, version=frames.VERSION, time_ns=began_ns, rules=dict(rules)))
        (kind, payload), *self._early = await self.receive()
        ended_ns = time.time_ns()
        hello = frames.heard(payload)
        if kind != frames.HELLO or hello.get("version") != frames.VERSION:
            raise SyncFailed(
                "The agent in the container speaks another version of the synchronization.",
                hint="Use the agent image of this version of ktpy.",
            )
        offset_s = (int(hello["time_ns"]) - (began_ns + ended_ns) // 2) / 1e9
        return str(hello["root"]), offset_s, bool(hello["folds_case"])


def _lost(error: Exception) -> LinkLost:
    """Return what a failure of a stream means, also one of the SSH library's own."""
    return (
        error if isinstance(error, LinkLost) else LinkLost(f"The channel to the container's folder is gone: {error}.")
    )


def reason(result: Result) -> str:
    """Say why a request has failed."""
    code = int(result.detail or b"0")
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    if code == errno.EILSEQ:
        return "its name is not UTF-8, which the file system there does not take"
    if code in (errno.ELOOP, errno.ENOTDIR):
        return "a symbolic link or a file is where its folder should be"
    return os.strerror(code)
