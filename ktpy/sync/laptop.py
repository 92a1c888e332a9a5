"""The laptop's side of a synchronized folder. One thread reads and writes its files, so that the event loop goes on."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from ktpy.errors import SyncFailed
from ktpy.sync.outer_rules import outer_rules
from ktpy.wire.sync.entries import LAPTOP, LINK, Entry
from ktpy.wire.sync.folder import Folder
from ktpy.wire.sync.frames import PUT, Request, Result
from ktpy.wire.sync.inotify import open_inotify
from ktpy.wire.sync.replica import Change, Replica, has_same_content
from ktpy.wire.sync.watch import Watch, next_look_s

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def laptop_side(path: Path, ignore: Sequence[str] = ()) -> AsyncIterator["LaptopSide"]:
    """Open the folder while the block runs; raises SyncFailed when it is none."""
    try:
        folder = Folder(os.fsencode(path), is_durable=True)
    except OSError as error:
        raise SyncFailed(f"{path} cannot be synchronized: {error.strerror}.") from error
    replica = Replica(folder, LAPTOP, open_inotify())
    replica.give_rules(outer := outer_rules(path, ignore))
    with ThreadPoolExecutor(1, "sync") as thread:
        try:
            yield LaptopSide(replica, outer, thread)
        finally:
            await asyncio.get_running_loop().run_in_executor(thread, folder.close)
            if replica.inotify:
                replica.inotify.close()


class LaptopSide:
    """A LaptopSide does everything in the order in which it is asked."""

    def __init__(self, replica: Replica, outer: Mapping[bytes, bytes], thread: ThreadPoolExecutor) -> None:
        self.replica = replica
        self._outer = outer
        self._thread = thread
        self._watch = Watch()

    async def do(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call it in the thread."""

        def call() -> T:
            try:
                return work(*arguments, **named)
            finally:
                self.replica.folder.release()

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def do_later(self, work: Callable[[], None]) -> None:
        """Call it in the thread, after all that was asked for, also by who was cancelled meanwhile."""
        self._thread.submit(work)

    def rules(self) -> dict[str, str]:
        """Return all ignore rules, as they travel."""
        return {os.fsdecode(one): os.fsdecode(rule) for one, rule in {**self._outer, **self.replica.rules}.items()}

    async def scan(self) -> list[Change]:
        return await self.do(lambda: list(self.replica.scan()))

    async def everything(self) -> dict[bytes, Entry]:
        """Look through the folder, and return all that is there."""
        await self.scan()
        return await self.do(lambda: dict(self.replica.everything()))

    async def changes(self) -> AsyncIterator[list[Change]]:
        """Yield what changes from now on."""
        while True:
            if self.replica.inotify:
                folders, is_all = await self._seen(self.replica.inotify.fileno())
                found = await self.do(self._look, folders, is_all)
            else:
                began_s = time.monotonic()
                found = await self.scan()
                now_s = time.monotonic()
                await asyncio.sleep(next_look_s(began_s, now_s) - now_s)
            if found:
                yield found

    def _look(self, folders: set[bytes], is_all: bool) -> list[Change]:
        return list(self.replica.scan() if is_all else self.replica.rescan(folders))

    async def _seen(self, inotify: int) -> tuple[set[bytes], bool]:
        """Wait until it is time to look at something."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(inotify, readable.set)
        try:
            while (wait_s := self._watch.due_s - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(wait_s, 3600.0)):
                        await readable.wait()
                readable.clear()
                if self.replica.inotify:
                    self._watch.take(self.replica.inotify.read(), time.monotonic())
        finally:
            loop.remove_reader(inotify)
        return self._watch.due()

    # --- in the thread

    def apply(self, requests: Iterable[Request]) -> list[Result]:
        """Put what comes with its content, or is none that has any; delete what has no entry."""
        return [self.replica.put(one) if one.entry else self.replica.delete(one) for one in requests]

    def puts(self, requests: Iterable[Request]) -> list[bytes | None]:
        """Return PUT frames of small entries, with their content; None for a file that has changed meanwhile."""
        return [self._put(one) for one in requests]

    def _put(self, request: Request) -> bytes | None:
        entry = request.entry
        if entry is None or not needs_content(request.expected, entry):
            return request.frame(PUT)
        try:
            content = self.replica.content(request.path, entry)
        except OSError:
            content = None
        return None if content is None else request._replace(content=content).frame(PUT)


def needs_content(expected: Entry | None, entry: Entry) -> bool:
    """Tell whether content has to travel to make one the other."""
    is_file = entry.kind not in (0, LINK) and bool(entry.content)
    return is_file and not (expected is not None and has_same_content(expected, entry))
