"""Two sides of a folder made alike, and kept so: what the plan says is done here, over whatever channel there is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from ktpy.aio.background_task import background_task
from ktpy.aio.byte_streams import ByteReader, ByteWriter
from ktpy.aio.task_group import task_group
from ktpy.errors import LinkLost, SyncFailed
from ktpy.observe.status import SyncProblem, SyncStatus
from ktpy.sync.channel import Channel
from ktpy.sync.events import SyncNotice, SyncReport
from ktpy.sync.laptop import LaptopSide, laptop_side
from ktpy.sync.options import SyncOptions
from ktpy.sync.plan import Action, Sides, Step, plan
from ktpy.sync.record import Record
from ktpy.sync.state import State, read_state, write_state
from ktpy.sync.transfer import Transfer
from ktpy.wire.sync import frames
from ktpy.wire.sync.entries import IGNORED, decoded, shown

SAVE_INTERVAL_S: Final = 5.0
RETRY_S: Final = (0.2, 0.5, 1.0, 3.0, 10.0)
"""When what has failed is tried again; the last goes on."""


@asynccontextmanager
async def synced(folder: Path, options: SyncOptions, report: SyncReport) -> AsyncIterator["Synchronizer"]:
    """Hold the laptop's side while the block runs; `Synchronizer.run` serves one channel after another meanwhile.

    Raises SyncFailed when the folder cannot be read.
    """
    async with laptop_side(folder, options.ignore) as laptop:
        state = await laptop.do(read_state, options.state_file, folder) if options.state_file else None
        sync = Synchronizer(folder, laptop, options, report, state)
        async with background_task(sync.keep_saving(), "save the state of the synchronization"):
            try:
                yield sync
            finally:
                await sync.save()


class Synchronizer:
    """A Synchronizer keeps what both sides had in common, from channel to channel."""

    def __init__(
        self, folder: Path, laptop: LaptopSide, options: SyncOptions, report: SyncReport, state: State | None
    ) -> None:
        self._folder = folder
        self._laptop = laptop
        self._options = options
        self._report = report
        self._record = Record(report, dict(state.common) if state else {})
        self._mark = state.container if state else ""
        self._wake = asyncio.Event()
        self._in_step = asyncio.Event()
        self._state = "starting"
        self._sides: Sides | None = None
        """As the channel of `self._state` tells them; none before its first."""
        self._underway: set[bytes] = set()
        """Paths whose steps are planned, and may be done or not."""
        self._saved_changes = 0
        self._channel: Channel | None = None
        self._carried_bytes = (0, 0)

    @property
    def status(self) -> SyncStatus:
        sent, received = self._carried_bytes
        if self._channel:
            sent, received = sent + self._channel.sent_bytes, received + self._channel.received_bytes
        record, waiting = self._record, self._waiting()
        return SyncStatus(
            local=str(self._folder),
            is_two_way=self._options.is_two_way,
            state=self._state,
            entries=len(record.common),
            to_container=waiting[Action.TO_CONTAINER] + waiting[Action.CONFLICT],
            to_laptop=waiting[Action.TO_LAPTOP],
            sent_bytes=sent,
            received_bytes=received,
            conflicts=record.conflicts,
            problems=tuple(SyncProblem(shown(path), text) for path, text in record.problems.items()),
            last_error=record.last_error,
        )

    def _waiting(self) -> Counter[Action]:
        """Count what is to be done, but for what has failed."""
        paths = (self._record.dirty | self._underway) - self._record.failed
        return Counter(step.action for step in plan(paths, self._sides, self._options)) if self._sides else Counter()

    async def in_step(self) -> None:
        """Wait until both sides are alike, as far as they can be."""
        await self._in_step.wait()

    @property
    def has_failed(self) -> bool:
        """Whether something could not be made alike, which is tried again."""
        return bool(self._record.failed)

    async def catch_up(self, *, with_container: bool = False) -> None:
        """Wait until both sides are alike with all that the laptop has by now, as far as they can be.

        `with_container`: and with all that the container has. Without a channel, with all that there is at the next.
        """
        for path, entry in await self._laptop.scan():
            self._record.note_laptop(path, entry)
        if with_container and self._channel and self._state in ("syncing", "in step"):
            with suppress(LinkLost):
                await self._channel.looked_through(self._laptop.rules())
        self._in_step.clear()
        self._wake.set()
        await self._in_step.wait()

    async def run(self, reader: ByteReader, writer: ByteWriter) -> None:
        """Synchronize over this channel until it ends, which raises LinkLost; another one goes on from there.

        Raises SyncFailed for an agent of another version, for one that says what no agent says, and where the laptop's
        disk fails.
        """
        self._channel = channel = Channel(reader, writer)
        try:
            await self._run(channel)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SyncFailed(f"What the container's side says is not understood: {error}.") from error
        except OSError as error:
            raise SyncFailed(f"{self._folder} cannot be read: {error.strerror}.") from error
        finally:
            self._state = "cut"
            self._in_step.clear()
            sent, received = self._carried_bytes
            self._carried_bytes = sent + channel.sent_bytes, received + channel.received_bytes
            self._channel = None
            channel.end()

    async def _run(self, channel: Channel) -> None:
        record = self._record
        record.begin(await self._laptop.everything())
        mark, offset_s, container_folds = await channel.greet(self._laptop.rules())
        self._state = "syncing"
        if mark != self._mark:
            if record.common:
                self._report(SyncNotice("The container's folder is another one: both sides are compared anew."))
            record.common.clear()
            self._mark = mark
        laptop_folds = await self._laptop.do(self._laptop.replica.folds_case)
        folding = [(Action.TO_CONTAINER, container_folds), (Action.TO_LAPTOP, laptop_folds)]
        self._sides = Sides(
            record.laptop, record.container, record.common, offset_s, frozenset(one for one, folds in folding if folds)
        )
        told = asyncio.Event()
        transfer = Transfer(channel, self._laptop, record)
        async with task_group() as tasks:
            tasks.create_task(self._receive(channel, transfer, told), name="hear the container's side")
            tasks.create_task(self._watch(channel), name="watch the laptop's side")
            await told.wait()
            self._heed_emptied()
            record.dirty.update(record.laptop, record.container, record.common)
            await self._work(self._sides, transfer)

    def _heed_emptied(self) -> None:
        """Fill a side that is found empty, instead of emptying the other one."""
        for name, index in (("laptop", self._record.laptop), ("container", self._record.container)):
            if self._record.common and not any(one.kind != IGNORED for one in index.values()):
                self._report(SyncNotice(f"The folder of the {name} is empty: it is filled, and nothing is deleted."))
                self._record.common.clear()

    async def _receive(self, channel: Channel, transfer: Transfer, told: asyncio.Event) -> None:
        while True:
            for kind, payload in await channel.receive():
                if kind == frames.ENTRY:
                    entry, path, _ = decoded(payload)
                    self._record.note_container(path, entry)
                elif kind == frames.TOLD:
                    self._record.told()
                    told.set()
                    self._wake.set()
                else:
                    await transfer.take(kind, payload)
            await transfer.apply_arrived()

    async def _watch(self, channel: Channel) -> None:
        rules = self._laptop.rules()
        async for changes in self._laptop.changes():
            for path, entry in changes:
                self._record.note_laptop(path, entry)
            if (present := self._laptop.rules()) != rules:
                rules = present
                await channel.send(frames.said(frames.RULES, rules=rules))
            self._wake.set()

    async def _work(self, sides: Sides, transfer: Transfer) -> None:
        """Do what the plan says, again and again."""
        record, failures = self._record, 0
        while True:
            self._wake.clear()
            if record.dirty:
                self._state = "syncing"
                self._in_step.clear()
                self._underway = dirty = set(record.dirty)
                record.dirty.clear()
                record.failed -= dirty
                await self._do(plan(dirty, sides, self._options), transfer)
                self._underway = set()
                continue
            self._state = "in step"
            self._in_step.set()
            failures = failures + 1 if record.failed else 0
            await self._wait(RETRY_S[min(failures, len(RETRY_S)) - 1] if failures else None)
            record.dirty |= record.failed

    async def _wait(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _do(self, steps: list[Step], transfer: Transfer) -> None:
        record = self._record
        doing = []
        for step in steps:
            if step.action is Action.AGREE:
                record.agree(step.path)
            elif step.action is Action.CLASH:
                record.problem(step.path, "another name there differs from it in case only")
            else:
                doing.append(step)
        if doing:
            await transfer.do(doing)

    # --- the state

    async def keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_INTERVAL_S)
            await self.save()

    async def save(self) -> None:
        """Write the state if it has changed."""
        file, changes = self._options.state_file, self._record.changes
        if file is None or changes == self._saved_changes or not self._mark:
            return
        try:
            state = State(self._mark, dict(self._record.common))
            await asyncio.get_running_loop().run_in_executor(None, write_state, file, self._folder, state)
            self._saved_changes = changes
        except OSError as error:
            self._record.problem(b"", f"the state cannot be kept in {file}: {error.strerror}")
