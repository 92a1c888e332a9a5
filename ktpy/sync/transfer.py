"""The steps of a plan, done on both sides. Nothing is done to what has changed since: it is planned anew."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from ktpy.aio.task_group import task_group
from ktpy.sync.channel import Channel, reason
from ktpy.sync.laptop import LaptopSide, needs_content
from ktpy.sync.plan import Action, Step, is_deletion, is_other_kind, is_same
from ktpy.sync.record import Record
from ktpy.wire.sync import frames
from ktpy.wire.sync.blocks import Incoming, failure, outgoing
from ktpy.wire.sync.entries import Entry
from ktpy.wire.sync.frames import Request, Result

BATCH_BYTES: Final = 256 << 10
BATCH_FILES: Final = 256


class Transfer:
    """A Transfer does steps over one channel."""

    def __init__(self, channel: Channel, laptop: LaptopSide, record: Record) -> None:
        self._channel = channel
        self._laptop = laptop
        self._record = record
        self._arrived: list[tuple[Step, Request]] = []
        self._incoming: dict[int, tuple[Step, Incoming]] = {}

    async def do(self, steps: list[Step]) -> None:
        """Do them all. Raises LinkLost, and ValueError for what no agent answers."""
        to_container = [step for step in steps if step.action is not Action.TO_LAPTOP]
        to_laptop = [step for step in steps if step.action is Action.TO_LAPTOP]
        try:
            await self._delete_here([step for step in to_laptop if is_deletion(step)])
            async with task_group() as tasks:
                tasks.create_task(self._send(to_container), name="send files")
                tasks.create_task(self._fetch([step for step in to_laptop if step.container]), name="fetch files")
            await self._channel.idle()
        finally:
            for _, incoming in self._incoming.values():
                self._laptop.do_later(incoming.close)
            self._incoming.clear()

    # --- to the container

    async def _send(self, steps: Iterable[Step]) -> None:
        batch: list[Request | bytes] = []
        size = 0
        for step in steps:
            entry = step.laptop
            if entry and entry.size > frames.SMALL_BYTES and needs_content(step.container, entry):
                await self._send_batch(batch)
                batch, size = [], 0
                await self._send_large(step, entry)
                continue
            if first := self._preceding(step):
                batch.append(first[1])
            if entry:
                number = self._channel.number(partial(self._answered, step))
                batch.append(Request(number, step.path, _expected(step, step.container), entry))
                size += entry.size
            else:
                number = self._channel.number(partial(self._answered, step))
                batch.append(Request(number, step.path, step.container).frame(frames.DELETE))
            if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
                await self._send_batch(batch)
                batch, size = [], 0
        await self._send_batch(batch)

    def _preceding(self, step: Step) -> tuple[int, bytes] | None:
        """Return number and frame of what has to be asked first, so that the name is free."""
        if step.action is Action.CONFLICT:
            number = self._channel.number(partial(self._set_aside, step))
            return number, Request(number, step.path, step.container).frame(frames.ASIDE)
        if is_other_kind(step.laptop, step.container):
            number = self._channel.number(
                partial(self._answered, step, on_result=partial(self._removed, self._record.container))
            )
            return number, Request(number, step.path, step.container).frame(frames.DELETE)
        return None

    async def _send_batch(self, batch: list[Request | bytes]) -> None:
        if not batch:
            return
        requests = [one for one in batch if isinstance(one, Request)]
        puts = iter(await self._laptop.do(self._laptop.puts, requests))
        rendered: list[bytes] = []
        for one in batch:
            if isinstance(one, bytes):
                rendered.append(one)
            elif put := next(puts):
                rendered.append(put)
            else:  # it has changed meanwhile
                await self._look_here(one.path)
                self._record.failed.add(one.path)
                self._channel.forget(one.number)
        await self._channel.send(b"".join(rendered))

    async def _look_here(self, path: bytes) -> None:
        """Look at a file again that may have been changed while it was read."""
        entry = await self._laptop.do(self._laptop.replica.look_again, path)
        if not is_same(entry, self._record.laptop.get(path)):
            self._record.note_laptop(path, entry)

    async def _send_large(self, step: Step, entry: Entry) -> None:
        if first := self._preceding(step):
            await self._channel.send(first[1])
            await self._channel.answered(first[0])
            if step.path in self._record.failed:  # it would be sent for nothing
                return
        have: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def answered(kind: int, payload: bytes) -> bool:
            if kind == frames.HAVE and not have.done():
                have.set_result(frames.after_number(payload))
                return False
            if not have.done():
                have.set_result(None)
            return self._answered(step, kind, payload)

        number = self._channel.number(answered)
        offer = Request(number, step.path, _expected(step, step.container), entry)
        await self._channel.send(offer.frame(frames.OFFER))
        if (there := await have) is None:
            return
        try:
            descriptor = await self._laptop.do(self._laptop.replica.folder.open_file, step.path)
        except OSError:
            await self._look_here(step.path)
            await self._channel.send(frames.numbered(frames.END, number))
            return
        try:
            parts = outgoing(descriptor, entry.size, there)
            part = asyncio.ensure_future(self._laptop.do(_next_part, parts, number))
            while (data := await part) and self._channel.is_waiting(number):  # until it has failed there
                # while one is sent, the next is read
                part = asyncio.ensure_future(self._laptop.do(_next_part, parts, number))
                await self._channel.send(data)
        finally:
            self._laptop.do_later(partial(os.close, descriptor))
        await self._look_here(step.path)
        await self._channel.send(frames.numbered(frames.END, number))

    # --- to the laptop

    async def _delete_here(self, steps: list[Step]) -> None:
        requests = [Request(0, step.path, step.laptop) for step in steps]
        for step, result in zip(steps, await self._laptop.do(self._laptop.apply, requests), strict=True):
            self._settle_here(step, result)

    async def _fetch(self, steps: list[Step]) -> None:
        await self._clear_the_way([step for step in steps if is_other_kind(step.laptop, step.container)])
        simple = [step for step in steps if step.container and not needs_content(step.laptop, step.container)]
        await self._apply([(step, Request(0, step.path, None, step.container)) for step in simple])
        gets: list[bytes] = []
        for step in steps:
            if step.container is None or not needs_content(step.laptop, step.container):
                continue
            if step.container.size > frames.SMALL_BYTES:
                await self._fetch_large(step, step.container)
                continue
            number = self._channel.number(partial(self._arrives, step))
            gets.append(Request(number, step.path, step.container).frame(frames.GET))
            if len(gets) >= BATCH_FILES:
                await self._channel.send(b"".join(gets))
                gets = []
        await self._channel.send(b"".join(gets))

    async def _clear_the_way(self, steps: list[Step]) -> None:
        requests = [Request(0, step.path, step.laptop) for step in steps]
        for step, result in zip(steps, await self._laptop.do(self._laptop.apply, requests), strict=True):
            self._removed(self._record.laptop, step, result)

    def _arrives(self, step: Step, kind: int, payload: bytes) -> bool:
        if kind == frames.PUT:
            put = Request.parse(payload)
            self._arrived.append((step, Request(put.number, step.path, None, step.container, put.content)))
            return False  # until it is applied
        return self._refused(step, kind, payload)

    def _refused(self, step: Step, kind: int, payload: bytes) -> bool:
        """Take a result in place of a file: it is not as it was, or cannot be read."""
        result = _result(kind, payload)
        self._record.note_container(step.path, result.entry)
        if result.status == frames.FAILED:
            self._record.problem(step.path, f"it cannot be read in the container: {reason(result)}")
            self._record.failed.add(step.path)
        else:
            self._record.dirty.add(step.path)
        return True

    async def apply_arrived(self) -> None:
        """Write the small files that have come."""
        arrived, self._arrived = self._arrived, []
        await self._apply(arrived)
        for _, request in arrived:
            self._channel.forget(request.number)

    async def _apply(self, batch: list[tuple[Step, Request]]) -> None:
        if not batch:
            return
        requests = [one._replace(expected=_expected(step, step.laptop)) for step, one in batch]
        results = await self._laptop.do(self._laptop.apply, requests)
        for (step, _), result in zip(batch, results, strict=True):
            self._settle_here(step, result)

    async def _fetch_large(self, step: Step, entry: Entry) -> None:
        has_changed = False

        def refused(kind: int, payload: bytes) -> bool:
            nonlocal has_changed
            has_changed = _result(kind, payload).status == frames.STALE
            return self._refused(step, kind, payload)

        try:
            incoming = await self._laptop.do(Incoming, self._laptop.replica.folder, step.path, entry)
        except OSError as error:
            self._settle_here(step, Result(0, frames.FAILED, step.laptop, failure(error)))
            return
        number = self._channel.number(refused)
        self._incoming[number] = step, incoming
        get = Request(number, step.path, entry, None, incoming.have)
        await self._channel.send(get.frame(frames.GET))
        await self._channel.answered(number)
        if number in self._incoming:  # it was refused
            self._laptop.do_later(self._incoming.pop(number)[1].close)
            if has_changed:  # nothing will ask for this content again
                self._laptop.do_later(partial(self._discard, step.path, incoming.name))

    def _discard(self, path: bytes, part: bytes) -> None:
        with suppress(OSError):
            self._laptop.replica.folder.discard(path, part)

    async def take(self, kind: int, payload: bytes) -> None:
        """Take what the agent answers."""
        if kind == frames.BLOCK:
            number, index, data = frames.block_of(payload)
            if number in self._incoming:
                await self._add(number, index, data)
        elif kind == frames.END:
            await self._end(frames.number_of(payload))
        else:
            self._channel.answer(kind, payload)

    async def _add(self, number: int, index: int, data: memoryview) -> None:
        step, incoming = self._incoming[number]
        try:
            await self._laptop.do(incoming.add, index, data)
        except OSError as error:
            del self._incoming[number]
            incoming.close()
            self._settle_here(step, Result(0, frames.FAILED, step.laptop, failure(error)))

    async def _end(self, number: int) -> None:
        step, incoming = self._incoming.pop(number, (None, None))
        if step and incoming:
            request = Request(0, step.path, _expected(step, step.laptop), step.container)
            try:
                self._settle_here(step, await self._laptop.do(self._place, request, incoming))
            finally:
                self._laptop.do_later(incoming.close)
        self._channel.forget(number)

    def _place(self, request: Request, incoming: Incoming) -> Result:
        replica = self._laptop.replica
        try:
            if incoming.finish():
                return replica.put(request, incoming)
            replica.folder.discard(request.path, incoming.name)
        except OSError as error:
            return Result(0, frames.FAILED, replica.look_again(request.path), failure(error))
        return Result(0, frames.STALE, replica.look_again(request.path))

    # --- what came of it

    def _answered(
        self,
        step: Step,
        kind: int,
        payload: bytes,
        on_result: "Callable[[Step, Result], None] | None" = None,
    ) -> bool:
        (on_result or self._settle_there)(step, _result(kind, payload))
        return True

    def _settle_there(self, step: Step, result: Result) -> None:
        self._settle(step, result, self._record.container, step.laptop, "in the container")

    def _settle_here(self, step: Step, result: Result) -> None:
        self._settle(step, result, self._record.laptop, step.container, "on the laptop")

    def _settle(self, step: Step, result: Result, index: dict[bytes, Entry], wanted: Entry | None, where: str) -> None:
        record, path = self._record, step.path
        if result.entry is None:
            index.pop(path, None)
        else:
            index[path] = result.entry
        if result.status == frames.DONE:
            record.done(path, wanted)
            if wanted and is_same(result.entry, wanted):
                index[path] = wanted  # one object for both
            if result.detail:
                record.conflict(path, result.detail)
        code = int(result.detail or b"0") if result.status == frames.FAILED else 0
        if code in (errno.ENOTEMPTY, errno.EEXIST) and is_deletion(step):
            record.leave(index, path)
        elif code:
            record.problem(path, f"it cannot be written {where}: {reason(result)}")
            record.failed.add(path)
        elif not is_same(result.entry, wanted) and path not in record.failed:
            record.dirty.add(path)

    def _removed(self, index: dict[bytes, Entry], step: Step, result: Result) -> None:
        """Take what came of the deletion of something that another kind shall replace, which may yet fail to come."""
        self._record.found(index, step.path, result.entry)
        if result.status != frames.DONE:
            self._record.forget(step.path)

    def _set_aside(self, step: Step, kind: int, payload: bytes) -> bool:
        result = _result(kind, payload)
        self._record.found(self._record.container, step.path, result.entry)
        if result.status == frames.DONE:
            self._record.conflict(step.path, result.detail)
        elif result.status == frames.FAILED:
            self._record.problem(step.path, f"it cannot be kept aside in the container: {reason(result)}")
            self._record.failed.add(step.path)  # what is sent after that is refused
        return True


def _result(kind: int, payload: bytes) -> Result:
    if kind != frames.RESULT:
        raise ValueError(f"no frame of kind {kind} is an answer here")
    return Result.parse(payload)


def _expected(step: Step, there: Entry | None) -> Entry | None:
    """Return what is at the name once the way is clear."""
    return None if step.action is Action.CONFLICT or is_other_kind(step.laptop, step.container) else there


def _next_part(parts: Iterator[tuple[int, bytes]], number: int) -> bytes:
    """Return the next blocks as frames; empty after the last. Raises OSError."""
    found: list[bytes] = []
    size = 0
    for index, data in parts:
        found += (frames.block_head(number, index, len(data)), data)
        size += len(data)
        if size >= 4 * BATCH_BYTES:
            break
    return b"".join(found)
