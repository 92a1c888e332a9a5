"""Two folders that are synchronized, users who edit both, and what must not be lost meanwhile."""

import asyncio
import os
import random
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from hypothesis import strategies as st

from ktpy.errors import LinkLost
from ktpy.sync.engine import Synchronizer, synced
from ktpy.sync.events import SyncEvent
from ktpy.sync.options import SyncOptions
from ktpy.wire.sync.exchange import exchange, move_to_free

SETTLE_S: Final = 60.0
SIDES: Final = ("laptop", "container")
PATHS: Final = ("a", "b.py", "d/a", "d/b.py", "d/e/a", "e", "e/f")

Edit = tuple[str, ...]
"""write, delete, folder, link: side and path; move: side and two paths; sync; cut: after how many bytes."""
_NAMES: Final = {"write": 40, "large": 4, "delete": 10, "folder": 6, "link": 5, "move": 12, "sync": 12, "cut": 8}


def _edits(seed: int) -> list[Edit]:
    chance = random.Random(seed)
    edits: list[Edit] = []
    for name in chance.choices(list(_NAMES), list(_NAMES.values()), k=chance.randrange(5, 25)):
        side, *paths = chance.choice(SIDES), *chance.choices(("a", "a", "d/a", *PATHS), k=2)
        arguments = {"sync": (), "cut": (str(chance.randrange(3000)),), "move": (side, *paths)}
        edits.append((name, *arguments.get(name, (side, paths[0]))))
    return edits


EDITS = st.integers(0, 1 << 32).map(_edits)


class Stream(Protocol):
    """A Stream is a channel to an agent, which can be cut."""

    async def read(self, n: int = -1, /) -> bytes: ...
    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    async def end(self) -> None: ...


class Cut:
    """A Cut is a stream that ends once so many bytes have come or gone."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left: int | None = None
        self._ended = asyncio.Event()

    def after(self, size: int) -> None:
        self._left = size
        if not size:
            self._ended.set()

    async def read(self, n: int = -1, /) -> bytes:
        reading = asyncio.ensure_future(self._stream.read(n))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
            return self._spent(reading.result()) if reading.done() else b""
        finally:
            reading.cancel()
            ended.cancel()

    def write(self, data: bytes, /) -> None:
        self._stream.write(self._spent(data))

    async def drain(self) -> None:
        if self._ended.is_set():
            raise BrokenPipeError
        await self._stream.drain()

    async def end(self) -> None:
        await self._stream.end()

    def _spent(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        data, self._left = data[: self._left], max(0, self._left - len(data))
        if not self._left:
            self._ended.set()
        return data


class TwoSides:
    """TwoSides edits as users do, by renames, and knows which contents nobody has given up."""

    def __init__(self, root: Path, sync: Synchronizer, connect: Callable[[Path], Awaitable[Stream]]) -> None:
        self.root = root
        self._sync = sync
        self._connect = connect
        self._numbers = count()
        self.alive: set[bytes] = set()
        self.history: list[str] = []
        self._stream: Cut | None = None
        self._running: asyncio.Task[None] | None = None

    async def edit(self, edits: Sequence[Edit]) -> None:
        for name, *arguments in edits:
            match name:
                case "sync":
                    await self.settle()
                case "cut":
                    if self._stream:
                        self._stream.after(int(arguments[0]))
                case _:
                    with suppress(FileNotFoundError, NotADirectoryError, FileExistsError, IsADirectoryError):
                        getattr(self, f"_{name}")(*arguments)
                    await asyncio.sleep(0)
            if self._running is None or self._running.done():
                await self.connect()

    async def connect(self) -> None:
        await self.disconnect()
        self._stream = Cut(await self._connect(self.root / "container"))
        self._running = asyncio.create_task(self._sync.run(self._stream, self._stream))

    async def disconnect(self) -> None:
        if self._running:
            if not self._running.done() and self._stream:
                self._stream.after(0)
            with suppress(LinkLost):
                await self._running
            self._running = None
        if self._stream:
            await self._stream.end()
            self._stream = None

    async def settle(self) -> None:
        """Wait until both sides are alike; connect again when that was cut."""
        deadline_s = os.times().elapsed + SETTLE_S
        while self._sync.status.state != "in step" or tree(self.root / "laptop") != tree(self.root / "container"):
            if self._running is None or self._running.done():
                await self.connect()
            await asyncio.sleep(0.005)
            trees = [tree(self.root / side) for side in SIDES]
            assert os.times().elapsed < deadline_s, f"they do not settle: {self._sync.status}, {trees}"

    def lost(self) -> set[bytes]:
        """Return the contents that users have written, and not given up, and that are nowhere any more."""
        here = {content for side in SIDES for content in tree(self.root / side).values() if content is not None}
        return self.alive - here

    def _new(self, size: int = 0) -> Path:
        number = next(self._numbers)
        new = self.root / "outside" / str(number)
        content = b"%d;" % number + bytes(size)
        new.write_bytes(content)
        self.alive.add(content)
        return new

    def _write(self, side: str, path: str, size: int = 0) -> None:
        self._rename(self._new(size), self.root / side / path)

    def _large(self, side: str, path: str) -> None:
        self._write(side, path, 700_000)

    def _link(self, side: str, path: str) -> None:
        new = self.root / "outside" / str(next(self._numbers))
        new.symlink_to(f"../outside/{new.name}")
        self._rename(new, self.root / side / path)

    def _delete(self, side: str, path: str) -> None:
        trash = self.root / "outside" / str(next(self._numbers))
        (self.root / side / path).rename(trash)
        self._give_up(trash)

    def _folder(self, side: str, path: str) -> None:
        (self.root / side / path).mkdir(parents=True)

    def _move(self, side: str, path: str, other: str) -> None:
        if (self.root / side / path).lstat() and not other.startswith(path) and not path.startswith(other):
            self._rename(self.root / side / path, self.root / side / other)

    def _rename(self, new: Path, target: Path) -> None:
        """Put something in place of what is there, and take exactly that away."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                move_to_free(-100, os.fsencode(new), -100, os.fsencode(target))  # AT_FDCWD
                return
            exchange(-100, os.fsencode(new), os.fsencode(target))
        except OSError:
            if new.parent.name == "outside":
                self._give_up(new)
            raise
        trash = self.root / "outside" / str(next(self._numbers))
        new.rename(trash)
        self._give_up(trash)

    def _give_up(self, trash: Path) -> None:
        self.alive -= {content for content in tree(trash).values() if content is not None}
        shutil.rmtree(trash) if trash.is_dir() and not trash.is_symlink() else trash.unlink()


def tree(root: Path) -> dict[str, bytes | None]:
    """Return the content of every file by its path, the target of every link, None for a folder."""
    return dict(_tree(root, ""))


def _tree(path: Path, name: str) -> Iterator[tuple[str, bytes | None]]:
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            yield name, b"-> " + os.fsencode(path.readlink())
        elif not stat.S_ISDIR(status.st_mode):
            yield name, path.read_bytes()
        else:
            yield name, None
            for child in list(path.iterdir()):
                if not child.name.startswith(".ktpy-sync."):
                    yield from _tree(child, f"{name}/{child.name}")
    except (FileNotFoundError, NotADirectoryError):
        return


@asynccontextmanager
async def two_sides(
    root: Path, connect: Callable[[Path], Awaitable[Stream]], options: SyncOptions | None = None
) -> AsyncIterator[TwoSides]:
    for name in (*SIDES, "outside"):
        (root / name).mkdir()
    events: list[SyncEvent] = []
    async with synced(root / "laptop", options or SyncOptions(), events.append) as sync:
        sides = TwoSides(root, sync, connect)
        try:
            yield sides
        finally:
            await sides.disconnect()
