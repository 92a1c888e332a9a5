"""The whole synchronization, with the agent's side in a thread."""

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from ktpy.errors import LinkLost, SyncFailed
from ktpy.observe.status import SyncStatus
from ktpy.sync.engine import Synchronizer, synced
from ktpy.sync.events import SyncEvent, SyncNotice
from ktpy.sync.options import Initial, SyncOptions
from ktpy.wire.sync import frames
from ktpy.wire.sync.blocks import Incoming, outgoing
from ktpy.wire.sync.entries import FILE, LINK, Entry
from ktpy.wire.sync.folder import Folder, digest
from ktpy.wire.sync.frames import FrameParser, Request
from ktpy.wire.sync.inotify import Inotify
from ktpy.wire.sync.replica import Replica
from tests.kit.skipping_loop import SkippingLoop
from tests.kit.two_sides import EDITS, Cut, Edit, tree, two_sides
from tests.unit.sync.agent_thread import AgentThread

NO_LONGER_THERE: list[Edit] = [
    ("write", "laptop", "a"),
    ("write", "laptop", "e/f"),
    ("delete", "laptop", "e"),
    ("folder", "container", "a"),
    ("move", "laptop", "a", "d/e/a"),
    ("cut", "1720"),
    ("move", "container", "d/e/a", "e"),
    ("write", "laptop", "d/a"),
]
"""The container's folder makes way for the laptop's file, which has gone elsewhere by then."""


@given(EDITS)
@example(NO_LONGER_THERE)
@settings(max_examples=40, deadline=None)
def test_whatever_both_sides_do_nothing_is_lost(edits: list[Edit]) -> None:
    async def run(root: Path) -> None:
        async with two_sides(root, AgentThread.start) as sides:
            await sides.connect()
            await sides.edit(edits)
            await sides.settle()
            assert sides.lost() == set()

    with tempfile.TemporaryDirectory(dir="/dev/shm") as root, asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(run(Path(root)))


class Pair:
    """A Pair is a laptop's folder and a container's, and the events that the laptop's side tells."""

    def __init__(self, root: Path) -> None:
        self.laptop, self.container = root / "laptop", root / "container"
        self.laptop.mkdir(exist_ok=True)
        self.container.mkdir(exist_ok=True)
        self.events: list[SyncEvent] = []
        self.status = SyncStatus()

    async def settle(self, options: SyncOptions | None = None, *, has_inotify: bool = True) -> None:
        """Synchronize until both are in step, over a channel of its own."""
        async with self.running(options, has_inotify=has_inotify):
            pass

    @asynccontextmanager
    async def running(
        self, options: SyncOptions | None = None, *, has_inotify: bool = True
    ) -> AsyncIterator[Synchronizer]:
        async with synced(self.laptop, options or SyncOptions(), self.events.append) as sync:
            agent = await AgentThread.start(self.container, has_inotify=has_inotify)
            running = asyncio.create_task(sync.run(agent, agent))
            try:
                await sync.in_step()
                yield sync
                self.status = sync.status
            finally:
                await agent.end()
                with suppress(LinkLost, asyncio.CancelledError):
                    await running

    def trees(self) -> list[dict[str, bytes | None]]:
        return [tree(self.laptop), tree(self.container)]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(3600):  # of the skipping loop
        while not holds():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("initial", "name", "copies"),
    [
        (Initial.LAPTOP, b"laptop", 0),
        (Initial.CONTAINER, b"container", 0),
        (Initial.NEWER, b"container", 0),
        (Initial.BOTH, b"laptop", 1),
    ],
)
async def test_the_first_time(pair: Pair, initial: Initial, name: bytes, copies: int) -> None:
    (pair.laptop / "a").write_bytes(b"laptop")
    (pair.container / "a").write_bytes(b"container")
    os.utime(pair.laptop / "a", (1, 1))
    (pair.laptop / "l").write_bytes(b"l")
    (pair.container / "c").write_bytes(b"c")
    await pair.settle(SyncOptions(initial=initial))
    await pair.settle(SyncOptions(initial=initial))
    laptop, container = pair.trees()
    assert laptop == container
    assert (laptop["/a"], laptop["/l"], laptop["/c"]) == (name, b"l", b"c")
    assert len([one for one in laptop if "conflict-container" in one]) == copies


async def test_what_both_had_in_common_is_kept_for_another_session(pair: Pair, tmp_path: Path) -> None:
    options = SyncOptions(state_file=tmp_path / "state")
    for name in ("a", "b", "c"):
        (pair.laptop / name).write_bytes(b"1")
    await pair.settle(options)
    (pair.laptop / "a").unlink()
    (pair.container / "b").unlink()
    (pair.container / "c").write_bytes(b"2")
    await pair.settle(options)
    assert pair.trees() == [{"": None, "/c": b"2"}] * 2
    assert pair.status.conflicts == 0


async def test_a_side_that_is_found_empty_is_filled(pair: Pair, tmp_path: Path) -> None:
    options = SyncOptions(state_file=tmp_path / "state")
    (pair.laptop / "a").write_bytes(b"1")
    await pair.settle(options)
    (pair.container / "a").unlink()
    await pair.settle(options)
    assert pair.trees() == [{"": None, "/a": b"1"}] * 2
    (pair.container / "a").unlink()
    (pair.container / ".ktpy-sync.id").unlink()
    await pair.settle(options)
    assert pair.trees() == [{"": None, "/a": b"1"}] * 2
    assert list(map(type, pair.events)) == [SyncNotice, SyncNotice]


async def test_one_way_leaves_what_the_container_has(pair: Pair) -> None:
    options = SyncOptions(is_two_way=False)
    (pair.container / "theirs").write_bytes(b"t")
    (pair.laptop / "a").write_bytes(b"1")
    async with pair.running(options):
        (pair.container / "a").write_bytes(b"edited there")
        (pair.laptop / "b").write_bytes(b"2")
        await until(lambda: (pair.container / "b").exists())
        (pair.laptop / "a").write_bytes(b"3")
        await until(lambda: tree(pair.container).get("/a") == b"3")  # for an instant there is none: it is set aside
    assert tree(pair.laptop) == {"": None, "/a": b"3", "/b": b"2"}
    assert b"edited there" in tree(pair.container).values()


async def test_without_inotify_changes_come_too(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktpy.sync.laptop.open_inotify", lambda: None)
    monkeypatch.setattr("ktpy.wire.sync.watch.LOOK_S", 0.05)
    async with pair.running(has_inotify=False):
        (pair.container / "a").write_bytes(b"1")
        (pair.laptop / "b").write_bytes(b"2")
        await until(lambda: len(tree(pair.laptop)) == len(tree(pair.container)) == 3)


async def test_a_large_file_goes_on_where_it_was_cut(pair: Pair) -> None:
    content = os.urandom(5 << 20)
    (pair.laptop / "large").write_bytes(content)
    async with synced(pair.laptop, SyncOptions(), pair.events.append) as sync:
        cut = Cut(agent := await AgentThread.start(pair.container))
        cut.after(3 << 20)
        with pytest.raises(LinkLost):
            await sync.run(cut, cut)
        await agent.end()
        assert [one.suffix for one in pair.container.iterdir()].count(".part") == 1
        before = sync.status.sent_bytes
        again = await AgentThread.start(pair.container)
        running = asyncio.create_task(sync.run(again, again))
        await sync.in_step()
        assert (pair.container / "large").read_bytes() == content
        assert sync.status.sent_bytes - before < 3 << 20
        await again.end()
        with suppress(LinkLost):
            await running


async def test_of_a_large_file_only_the_blocks_that_differ_are_sent(pair: Pair) -> None:
    content = bytearray(os.urandom(4 << 20))
    (pair.laptop / "large").write_bytes(content)
    async with pair.running() as sync:
        before = sync.status.sent_bytes
        content[2 << 20] ^= 1
        (pair.laptop / "large").write_bytes(content)
        await until(lambda: (pair.container / "large").read_bytes() == content)
        assert sync.status.sent_bytes - before < 1 << 20
        content[1 << 20] ^= 1
        before = sync.status.received_bytes
        (pair.container / "large").write_bytes(content)
        await until(lambda: (pair.laptop / "large").read_bytes() == content)
        assert sync.status.received_bytes - before < 1 << 20


@pytest.mark.parametrize("size", [10, 200_000])
@pytest.mark.parametrize("side", ["laptop", "container"])
async def test_a_full_disk_is_said_and_tried_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, side: str, size: int
) -> None:
    source, target = (pair.container, pair.laptop) if side == "laptop" else (pair.laptop, pair.container)
    (source / "a").write_bytes(bytes(size))
    original, is_full = os.write, True

    def write(descriptor: int, data: bytes) -> int:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        if is_full and name.parent == target:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    async with pair.running() as sync:
        await until(lambda: len(sync.status.problems) == 1)
        assert "the disk is full" in str(sync.status.last_error)
        assert not (target / "a").exists()
        is_full = False
        await until(lambda: (target / "a").exists())
        await until(lambda: len(sync.status.problems) == 0)
    assert pair.trees()[0] == pair.trees()[1]


async def test_a_large_file_for_which_there_is_no_room_is_not_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair.laptop / "large").write_bytes(os.urandom(5 << 20))
    original, is_full = os.fstatvfs, True

    def statvfs(descriptor: int) -> os.statvfs_result:
        status = list(original(descriptor))
        status[4] = (3 << 20) // status[1] if is_full else status[4]  # f_bavail, f_frsize
        return os.statvfs_result(status)

    monkeypatch.setattr(os, "fstatvfs", statvfs)
    async with pair.running() as sync:
        await until(lambda: len(sync.status.problems) == 1)
        assert "the disk is full" in str(sync.status.last_error)
        assert sync.status.sent_bytes < 1 << 20
        assert {one.name for one in pair.container.iterdir()} == {".ktpy-sync.id"}
        is_full = False
        await until(lambda: (pair.container / "large").exists())
    assert pair.trees()[0] == pair.trees()[1]


async def test_a_large_file_that_fails_on_its_way_is_sent_no_further(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pair.laptop / "large").write_bytes(os.urandom(32 << 20))
    original = Incoming.add

    def add(self: Incoming, index: int, data: bytes) -> None:
        if index == 1:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        original(self, index, data)

    monkeypatch.setattr(Incoming, "add", add)
    async with pair.running() as sync:
        await until(lambda: len(sync.status.problems) == 1)
        assert sync.status.sent_bytes < 16 << 20


async def test_a_large_file_that_grows_while_it_comes_leaves_no_part(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := pair.container / "large").write_bytes(bytes(frames.SMALL_BYTES + 1))
    sizes: list[int] = []

    def growing(descriptor: int, size: int, have: bytes) -> Iterator[tuple[int, bytes]]:
        if not sizes:
            file.write_bytes(bytes(frames.SMALL_BYTES + 2))
        sizes.append(size)
        return outgoing(descriptor, size, have)

    monkeypatch.setattr("ktpy_agent.sync.outgoing", growing)
    await pair.settle()
    assert sizes == [frames.SMALL_BYTES + 1, frames.SMALL_BYTES + 2]
    assert [path.name for path in pair.laptop.iterdir()] == ["large"]


async def test_of_names_that_differ_in_case_one_is_sent_and_the_other_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pair.laptop / "README").write_bytes(b"1")
    (pair.laptop / "readme").write_bytes(b"2")
    monkeypatch.setattr(Replica, "folds_case", lambda _: True)
    async with pair.running() as sync:
        assert "differs from it in case only" in str(sync.status.last_error)
    assert pair.trees() == [{"": None, "/README": b"1", "/readme": b"2"}, {"": None, "/README": b"1"}]


async def test_a_name_that_is_no_utf_8_travels(pair: Pair) -> None:
    name = os.fsdecode(b"\xff\xfe")
    (pair.laptop / name).write_bytes(b"1")
    await pair.settle()
    assert pair.trees() == [{"": None, f"/{name}": b"1"}] * 2


async def test_what_is_ignored_stays_where_it_is(pair: Pair) -> None:
    (pair.laptop / ".gitignore").write_text("build/\n")
    for side in (pair.laptop, pair.container):
        (side / "build").mkdir()
        (side / "build" / side.name).write_bytes(b"1")
        (side / "src").mkdir()
        (side / "src" / "a").write_bytes(b"1")
    async with pair.running():
        (pair.laptop / "src" / "a").unlink()
        (pair.laptop / "src").rmdir()
        await until(lambda: not (pair.container / "src").exists())
        (pair.laptop / ".gitignore").write_text("")
        await until(lambda: (pair.container / "build" / "laptop").exists())
        await until(lambda: (pair.laptop / "build" / "container").exists())


async def test_the_container_cannot_ask_for_what_the_laptop_ignores(pair: Pair) -> None:
    (pair.laptop / ".gitignore").write_text(".env\n")
    (pair.laptop / ".env").write_bytes(b"1")
    async with pair.running() as sync:
        (pair.container / ".gitignore").write_text("!.env\n")
        await until(lambda: len(sync.status.problems) == 1)
        (pair.laptop / "d").mkdir()
        (pair.laptop / "d" / ".env").write_bytes(b"2")
        await until(lambda: len(sync.status.problems) == 2)
        (pair.container / ".gitignore").unlink()
        await until(lambda: not (pair.laptop / ".gitignore").exists())
        (pair.laptop / "a").touch()
        await until(lambda: (pair.container / "a").exists())
    assert tree(pair.container).keys() == {"", "/a", "/d"}


async def test_a_folder_with_something_ignored_in_it_does_not_come_back(pair: Pair) -> None:
    (pair.laptop / ".gitignore").write_text("*.pyc\n")
    (pair.laptop / "d").mkdir()
    (pair.laptop / "d" / "a.py").write_bytes(b"1")
    async with pair.running() as sync:
        (pair.container / "d" / "a.pyc").write_bytes(b"2")
        (pair.laptop / "d" / "a.py").unlink()
        (pair.laptop / "d").rmdir()
        await until(lambda: not (pair.container / "d" / "a.py").exists())
        await sync.in_step()
        assert not (pair.laptop / "d").exists()
        (pair.container / "d" / "b.py").write_bytes(b"3")
        await until(lambda: (pair.laptop / "d" / "b.py").exists())
    assert (pair.container / "d" / "a.pyc").read_bytes() == b"2"


class Liar:
    """A Liar is an agent that says what it likes."""

    def __init__(self, *said: bytes) -> None:
        self._said = list(said)
        self._never = asyncio.Event()

    async def read(self, n: int = -1, /) -> bytes:
        if self._said and not self._said[0]:  # not before it is asked
            self._said.pop(0)
            await self._never.wait()
        if not self._said:
            await self._never.wait()
        return self._said.pop(0)

    def write(self, data: bytes, /) -> None:
        for kind, payload in FrameParser().feed(data):
            if kind == frames.GET:
                request = Request.parse(payload)
                answer = Request(request.number, request.path, None, request.expected, b"harmless")
                self._said.append(answer.frame(frames.PUT))
                self._never.set()
            elif kind == frames.OFFER:
                self._never.set()

    async def drain(self) -> None:
        pass


class Silent(Liar):
    def write(self, data: bytes, /) -> None:
        """Answer nothing."""


def told(*entries: tuple[bytes, Entry]) -> bytes:
    hello = frames.said(frames.HELLO, version=frames.VERSION, time_ns=0, root="liar", folds_case=False)
    return hello + b"".join(frames.frame(frames.ENTRY, e.encoded(p)) for p, e in entries) + frames.frame(frames.TOLD)


HARMLESS = Entry(FILE, 0o644, 8, digest(b"harmless"))


async def test_what_nobody_has_told_is_found_when_asked_for(pair: Pair) -> None:
    async with pair.running(has_inotify=False) as sync:  # the container's side looks once a second
        (pair.container / "a").write_bytes(b"1")
        (pair.laptop / "b").write_bytes(b"2")
        await sync.catch_up(with_container=True)
        assert pair.trees() == [{"": None, "/a": b"1", "/b": b"2"}] * 2
        assert (sync.status.to_container, sync.status.to_laptop, sync.status.entries) == (0, 0, 2)


async def test_what_waits_is_counted_each_way(pair: Pair) -> None:
    for name in ("a", "b"):
        (pair.laptop / name).write_bytes(bytes(frames.SMALL_BYTES + 1))
    async with synced(pair.laptop, SyncOptions(), pair.events.append) as sync:
        assert (sync.status.state, sync.status.to_container) == ("starting", 0)
        liar = Silent(told((b"c", Entry(FILE, 0o644, frames.SMALL_BYTES + 1, bytes(16)))))
        running = asyncio.create_task(sync.run(liar, liar))
        await until(lambda: sync.status.to_container > 0)
        status = sync.status
        assert (status.state, status.to_container, status.to_laptop) == ("syncing", 2, 1)
        running.cancel()
        await asyncio.wait({running})
        assert sync.status.state == "cut"


@pytest.mark.parametrize("path", [b"../evil", b"/evil", b"d/../../evil", b".git/hooks/evil", b"d/.GIT/evil"])
async def test_a_path_that_leads_out_ends_the_channel(pair: Pair, path: bytes) -> None:
    async with synced(pair.laptop, SyncOptions(), pair.events.append) as sync:
        liar = Liar(told((path, HARMLESS)))
        with pytest.raises(SyncFailed, match="leads elsewhere"):
            await sync.run(liar, liar)
    assert pair.trees() == [{"": None}] * 2


HELLO_TIME = frames.said(frames.HELLO, version=frames.VERSION, time_ns=float("inf"), root="liar", folds_case=False)
HUGE_ERRNO = frames.Result(1, frames.FAILED, None, b"9" * 30).frame()


@pytest.mark.parametrize(
    "said",
    [
        [frames.frame(frames.HELLO, b"[" * 100_000)],
        [HELLO_TIME],
        [told(), b"", HUGE_ERRNO],
        [told((b"", HARMLESS))],
        [told(), b"", frames.numbered(frames.HAVE, 1) * 2],
    ],
    ids=["deep JSON", "endless time", "errno", "no path", "HAVE twice"],
)
async def test_what_no_agent_says_ends_the_channel(pair: Pair, said: list[bytes]) -> None:
    (pair.laptop / "a").write_bytes(bytes(frames.SMALL_BYTES + 1))
    async with synced(pair.laptop, SyncOptions(), pair.events.append) as sync:
        liar = Liar(*said)
        with pytest.raises(SyncFailed, match="not understood"):
            await sync.run(liar, liar)


@pytest.mark.parametrize("size", [1, frames.SMALL_BYTES + 1])
async def test_what_cannot_be_set_aside_waits(pair: Pair, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    monkeypatch.setattr(Replica, "_keep_aside", refuse)
    (pair.laptop / "a").write_bytes(b"1" * size)
    (pair.container / "a").write_bytes(b"2")
    async with pair.running() as sync:
        assert len(sync.status.problems) == 1
        assert sync.status.sent_bytes < 1000
    assert [one["/a"] for one in pair.trees()] == [b"1" * size, b"2"]


async def test_a_folder_that_cannot_be_read_is_said_and_left(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SyncOptions(state_file=tmp_path / "state")
    (pair.laptop / "d").mkdir()
    for name in ("a", "d/a"):
        (pair.laptop / name).write_bytes(b"1")
    await pair.settle(options)
    original, refused = Folder.open_folder, (pair.container / "d").stat().st_ino

    def open_folder(self: Folder, path: bytes) -> int:
        descriptor = original(self, path)
        if os.fstat(descriptor).st_ino == refused:
            os.close(descriptor)
            raise PermissionError(errno.EACCES, "Permission denied")
        return descriptor

    monkeypatch.setattr(Folder, "open_folder", open_folder)
    await pair.settle(options)
    assert pair.trees() == [{"": None, "/a": b"1", "/d": None, "/d/a": b"1"}] * 2
    assert "cannot be read in the container" in str(pair.status.last_error)
    assert len(pair.status.problems) == 1


async def test_the_container_goes_on_looking_when_its_watches_run_out(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Inotify.watch

    def watch(self: Inotify, folder: int, path: bytes) -> None:
        if path == b"more":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, folder, path)

    monkeypatch.setattr(Inotify, "watch", watch)
    async with pair.running():
        (pair.container / "more").mkdir()
        await until(lambda: (pair.laptop / "more").exists())
        (pair.container / "a").write_bytes(b"1")
        await until(lambda: (pair.laptop / "a").exists())


async def test_a_link_that_leads_out_is_made_and_not_followed(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link = Entry(LINK, content=os.fsencode(tmp_path / "outside"))
    async with synced(pair.laptop, SyncOptions(), pair.events.append) as sync:
        liar = Liar(told((b"d", link), (b"d/evil", HARMLESS)))
        running = asyncio.create_task(sync.run(liar, liar))
        await until(lambda: len(sync.status.problems) > 0 or running.done())
        running.cancel()
        await asyncio.wait({running})
    assert (pair.laptop / "d").is_symlink()
    assert list((tmp_path / "outside").iterdir()) == []


async def test_a_folder_that_is_none_cannot_be_synchronized(tmp_path: Path) -> None:
    with pytest.raises(SyncFailed, match="cannot be synchronized"):
        async with synced(tmp_path / "absent", SyncOptions(), lambda _: None):
            pass
