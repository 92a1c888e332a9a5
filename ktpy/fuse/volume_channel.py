"""The channels to a claim's folder in the pod, one after another: requests, and what becomes of them on a lost link."""

import asyncio
import errno
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ktpy.aio.byte_streams import ByteReader, ByteWriter
from ktpy.errors import LinkLost
from ktpy.wire.volume import VERSION, MessageParser, packed

WAIT_S: Final = 30.0
"""How long a program's request waits for a lost link before it fails, as with a soft mount of nfs(5)."""
_READ_BYTES: Final = 1 << 18


class Answer(NamedTuple):
    results: list[Any]
    content: bytes
    epoch: int
    """Of the channel that it came over."""


class Reopen(Exception):
    """The open file was opened over a channel that has ended."""


class VolumeChannel:
    """A VolumeChannel asks over whatever channel stands."""

    def __init__(self) -> None:
        self.epoch = 0
        """Counts the channels."""
        self._up = asyncio.Event()
        self._writer: ByteWriter | None = None
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    async def wait_up(self) -> None:
        await self._up.wait()

    async def run(self, reader: ByteReader, writer: ByteWriter) -> None:
        """Carry requests over a channel until it ends. Raises LinkLost then, ValueError for what no agent says."""
        parser, is_greeted = MessageParser(), False
        try:
            while True:
                try:
                    data = await reader.read(_READ_BYTES)
                except Exception as error:  # the SSH library has its own
                    raise LinkLost(f"The channel to the claim is gone: {error}.") from error
                if not data:
                    raise LinkLost("The channel to the claim has ended.")
                for head, content in parser.feed(data):
                    if is_greeted:
                        self._take(head, content)
                    else:
                        self._begin(head, writer)
                        is_greeted = True
        finally:
            self._up.clear()
            waiting, self._waiting = self._waiting, {}
            for future in waiting.values():
                if not future.done():
                    future.set_exception(LinkLost("The channel to the claim has ended."))

    def _begin(self, hello: list[Any], writer: ByteWriter) -> None:
        if hello != [0, 0, VERSION]:
            raise ValueError("the agent speaks another version")
        self._writer = writer
        self.epoch += 1
        self._up.set()

    def _take(self, head: list[Any], content: bytes) -> None:
        future = self._waiting.pop(head[0], None)
        if future is not None and not future.done():
            future.set_result(Answer(head, content, self.epoch))

    async def ask(
        self, operation: str, *arguments: object, data: bytes = b"", is_once: bool = False, epoch: int | None = None
    ) -> Answer:
        """Return the results of an operation. One that may be done `is_once` only is not asked for again.

        Raises OSError: what the pod says, and EIO where the link stays lost. Raises Reopen when another channel
        stands than that of an epoch.
        """
        while True:
            if not self.is_up:
                try:
                    async with asyncio.timeout(WAIT_S):
                        await self._up.wait()
                except TimeoutError:
                    raise OSError(errno.EIO, "the link to the pod is lost") from None
            if epoch is not None and epoch != self.epoch:
                raise Reopen
            try:
                answer = await self._send([operation, *arguments], data)
            except LinkLost:
                if is_once:
                    raise OSError(errno.EIO, "the link was lost meanwhile") from None
                continue
            _, error, *results = answer.results
            if error:
                raise OSError(int(error), "")
            return Answer(results, answer.content, answer.epoch)

    async def _send(self, request: Sequence[object], data: bytes) -> Answer:
        if self._writer is None:
            raise LinkLost("There is no channel to the claim.")
        self._number += 1
        number = self._number
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._writer.write(packed([number, *request], data))
        except Exception as error:  # the SSH library has its own
            self._waiting.pop(number, None)
            self._up.clear()  # which `run` has yet to notice
            raise LinkLost(f"The channel to the claim is gone: {error}.") from error
        try:
            return await future
        finally:
            self._waiting.pop(number, None)
