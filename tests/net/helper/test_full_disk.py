"""No room for what is written: the change is not made, and everything that was is undone."""

import itertools
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest

from ktpy.errors import KtpyError, ResolverNotWritable
from ktpy.helper import journal
from ktpy.helper.client import HelperClient
from tests.kit.waiting import until
from tests.net.helper.machine import ORIGINAL, Machine, is_running
from tests.net.helper.session import ENDS, FORMS, LOOPBACK, NETWORKS, SEARCH, connect, let_go

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

PAGE_BYTES = 4096
LONG = ORIGINAL + b"sortlist 192.168.77.0\n" * 181
"""A little less than a page, so that ktpy's own file needs another one."""
STEPS = ("open_tun", "set_resolver")


class Disk:
    """A file system of its own at a folder of the machine: so and so many pages of a tmpfs."""

    def __init__(self, box: Machine, folder: str, *files: str) -> None:
        self._root = box.root / folder.lstrip("/")
        kept = {name: (self._root / name).read_bytes() for name in files}
        box.run("mkdir", "-p", folder)
        box.run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder)
        for name, content in kept.items():
            (self._root / name).write_bytes(content)
        self._filler = self._root / "filler"

    def leave(self, pages: int) -> None:
        self.empty()
        free = os.statvfs(self._root).f_bavail - pages
        self._filler.write_bytes(bytes(free * PAGE_BYTES))
        assert os.statvfs(self._root).f_bavail == pages

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def state_disk(box: Machine) -> Disk:
    return Disk(box, "/var/lib/ktpy")


@pytest.fixture
def etc_disk(box: Machine) -> Disk:
    return Disk(box, "/etc", "passwd", "nsswitch.conf")


async def refused_step(box: Machine, prepare: Callable[[HelperClient], object] = lambda _: None) -> tuple[str, str]:
    """Set up as a connect does; return which step was refused and why, after all is undone."""
    helper = await HelperClient.start(box.launch())
    prepare(helper)
    step = "open_tun"
    try:
        with ExitStack() as held:
            tun = await helper.open_tun()
            held.callback(os.close, tun.descriptor)
            await helper.add_routes(NETWORKS)
            [bound] = await helper.bind_dns([LOOPBACK])
            held.enter_context(bound.udp)
            held.enter_context(bound.tcp)
            step = "set_resolver"
            await helper.set_resolver([LOOPBACK], search=SEARCH, cluster_domain="cluster.local")
    except KtpyError as error:
        return step, f"{type(error).__name__}: {error.message}"
    finally:
        report = await helper.close()
        assert report is not None
        assert (report.left, report.failures) == ((), ())
    return "", ""


async def test_no_room_for_the_journal(box: Machine, state_disk: Disk) -> None:
    """With a page more each time, until all fits."""
    box.set_resolv_conf("file", LONG)
    before = box.state()
    refused: dict[str, str] = {}
    for pages in range(32):
        state_disk.leave(pages)
        step, why = await refused_step(box)
        assert box.state() == before
        assert list(box.journal_dir.iterdir()) == []
        if not step:
            break
        refused[step] = why
    sentence = (
        "FolderNotWritable: ktpy cannot write down in /var/lib/ktpy/journal how to undo a change"
        " (No space left on device), so it did not make it."
    )
    assert refused == dict.fromkeys(STEPS, sentence)


async def test_no_room_in_the_middle_of_any_line_of_the_journal(box: Machine) -> None:
    """A limit of the process stands for a disk that ends at a byte: the kernel writes up to it, and then nothing.

    Lines differ by some bytes from run to run, with the time: tests/unit/helper/test_journal.py tries every byte.
    """
    box.set_resolv_conf("file")
    before = box.state()
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    [path] = box.journal_dir.glob("*.json")
    ends = [0, *(index + 1 for index, byte in enumerate(path.read_bytes()) if byte == ord("\n"))]
    let_go(tun, sockets)
    await helper.close()
    for limit in [(end + after) // 2 for end, after in itertools.pairwise(ends)]:

        def set_limit(helper: HelperClient, limit: int = limit) -> None:
            resource.prlimit(helper.hello.pid, resource.RLIMIT_FSIZE, (limit, limit))

        step, why = await refused_step(box, set_limit)
        assert step in STEPS
        assert why.startswith("FolderNotWritable: ")
        assert box.state() == before
        assert list(box.journal_dir.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
async def test_no_room_for_resolv_conf(box: Machine, etc_disk: Disk, form: str) -> None:
    box.set_resolv_conf(form, LONG)
    refused = []
    for pages in range(32):
        etc_disk.leave(pages)
        before = box.state()
        step, why = await refused_step(box)
        assert box.state() == before
        assert list(box.journal_dir.iterdir()) == []
        if not step:
            break
        refused.append((step, why))
    reason = "cannot be written (No space left on device); ktpy left it as it is."
    assert set(refused) == {("set_resolver", f"{ResolverNotWritable.__name__}: /etc/resolv.conf {reason}")}


@asynccontextmanager
async def connected(box: Machine, *disks: Disk) -> AsyncIterator[HelperClient]:
    """A connection under which the disks fill up, and afterwards empty again; then all has to be as before."""
    before = box.state()
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    for disk in disks:
        disk.leave(0)
    yield helper
    await until(lambda: not is_running(helper.hello.pid))
    for disk in disks:
        disk.empty()
    assert box.state() == before
    assert list(box.journal_dir.iterdir()) == []
    let_go(tun, sockets)
    await helper.close()


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("form", FORMS)
async def test_everything_is_undone_on_a_full_disk(
    box: Machine, state_disk: Disk, etc_disk: Disk, form: str, end: Callable[[HelperClient], object]
) -> None:
    box.set_resolv_conf(form, LONG)
    async with connected(box, state_disk, etc_disk) as helper:
        await end(helper)  # type: ignore[misc]


@pytest.mark.parametrize("form", FORMS)
async def test_a_killed_helper_is_recovered_from_on_a_full_disk(
    box: Machine, state_disk: Disk, etc_disk: Disk, form: str
) -> None:
    box.set_resolv_conf(form, LONG)
    async with connected(box, state_disk, etc_disk) as helper:
        os.kill(helper.hello.pid, signal.SIGKILL)
        await until(lambda: not is_running(helper.hello.pid))
        async with await HelperClient.start(box.launch()) as another:
            [report] = await another.recover()
        assert set(report.undone) == {"/etc/resolv.conf", "TUN device ktpy0"}
        assert (report.left, report.failures) == ((), ())


async def test_a_journal_with_a_torn_line_is_undone_but_for_that_line(box: Machine) -> None:
    """As an earlier version left it on a full disk, with the next line glued to the torn one."""
    box.set_resolv_conf("file")
    before = box.state()
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    os.kill(helper.hello.pid, signal.SIGKILL)
    await until(lambda: not is_running(helper.hello.pid))
    let_go(tun, sockets)
    await helper.close()
    [path] = box.journal_dir.glob("*.json")
    path.write_bytes(path.read_bytes().replace(b'"summary": "TUN device', b'"summ', 1))
    assert [found.pending for found in journal.stale(box.journal_dir)] == [("/etc/resolv.conf",)]
    async with await HelperClient.start(box.launch()) as another:
        [report] = await another.recover()
    assert "1 of the 3 lines of /var/lib/ktpy/journal/" in report.failures[0]
    assert box.state() == before
    assert journal.stale(box.journal_dir) == []
