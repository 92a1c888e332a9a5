"""Everything is undone, whoever ends: the helper, the main process, or both."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_network

import pytest

from ktpy.errors import HelperFailed
from ktpy.helper import journal
from ktpy.helper.client import HelperClient, Tun
from ktpy.helper.wire import Address
from tests.kit.waiting import until
from tests.net.helper.machine import ORIGINAL, Machine, is_running
from tests.net.helper.session import ENDS, FORMS, LOOPBACK, connect, let_go, opened

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("form", FORMS)
async def test_everything_is_as_before(box: Machine, form: str, end: Callable[[HelperClient], object]) -> None:
    """Although the main process still holds the TUN device and the sockets."""
    box.set_resolv_conf(form)
    before = box.state()
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    assert box.state() != before
    assert f"nameserver {LOOPBACK}".encode() in box.resolv_conf
    await end(helper)  # type: ignore[misc]
    await until(lambda: not is_running(helper.hello.pid))
    assert box.state() == before
    assert journal.journal_ids(box.journal_dir) == []
    let_go(tun, sockets)
    await helper.close()


@pytest.mark.parametrize("form", FORMS)
async def test_recovering_after_all_were_killed(box: Machine, form: str) -> None:
    box.set_resolv_conf(form)
    before = box.state()
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    os.kill(helper.hello.pid, signal.SIGKILL)
    await helper.wait_closed()
    let_go(tun, sockets)
    await helper.close()
    await until(lambda: not is_running(helper.hello.pid))
    assert box.resolv_conf != ORIGINAL
    async with await HelperClient.start(box.launch()) as next_one:
        [report] = await next_one.recover()
        assert set(report.undone) == {"/etc/resolv.conf", "TUN device ktpy0"}
        assert box.state() == before
        assert await next_one.recover() == ()
    assert journal.journal_ids(box.journal_dir) == []


@pytest.mark.parametrize("delay_ms", [0, 2, 4, 6, 8, 12, 16, 24])
async def test_recovering_after_a_kill_half_way(box: Machine, delay_ms: int) -> None:
    """Wherever it hits: between a record and its change, within one, after it."""
    box.set_resolv_conf("file")
    before = box.state()
    helper = await HelperClient.start(box.launch())
    connecting = asyncio.create_task(connect(helper), name="connecting")
    await asyncio.sleep(delay_ms / 1000)
    os.kill(helper.hello.pid, signal.SIGKILL)
    await helper.wait_closed()
    with contextlib.suppress(HelperFailed):
        let_go(*await connecting)
    await helper.close()
    await until(lambda: not is_running(helper.hello.pid))
    async with await HelperClient.start(box.launch()) as next_one:
        for report in await next_one.recover():
            assert (report.left, report.failures) == ((), ())
    assert box.state() == before
    assert journal.journal_ids(box.journal_dir) == []


async def test_killed_helper_ends_the_main_process_and_leaves_a_stale_journal(box: Machine) -> None:
    box.set_resolv_conf("file")
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    assert journal.stale(box.journal_dir) == []
    os.kill(helper.hello.pid, signal.SIGKILL)
    await helper.wait_closed()
    with pytest.raises(HelperFailed, match="helper ended"):
        await helper.detect_resolver()
    await until(lambda: not is_running(helper.hello.pid))
    [found] = journal.stale(box.journal_dir)
    assert found.pending == ("/etc/resolv.conf", "TUN device ktpy0")
    let_go(tun, sockets)
    await helper.close()


async def test_recovering_removes_a_tun_that_the_main_process_still_holds(box: Machine) -> None:
    box.set_resolv_conf("file")
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    os.kill(helper.hello.pid, signal.SIGKILL)
    await until(lambda: not is_running(helper.hello.pid))
    async with await HelperClient.start(box.launch()) as next_one:
        await next_one.recover()
        assert "ktpy0" not in box.links()
    let_go(tun, sockets)
    await helper.close()


async def test_recovering_leaves_a_running_helper_alone(box: Machine, helper: HelperClient) -> None:
    async with opened(helper), await HelperClient.start(box.launch()) as second:
        assert await second.recover() == ()
        assert "ktpy0" in box.links()


async def test_recovering_leaves_a_tun_of_somebody_else(box: Machine, helper: HelperClient) -> None:
    """After a crash the name may have gone to another program."""
    tun = await helper.open_tun()
    os.kill(helper.hello.pid, signal.SIGKILL)
    await helper.wait_closed()
    os.close(tun.descriptor)
    await until(lambda: "ktpy0" not in box.links())
    box.run("ip", "tuntap", "add", "ktpy0", "mode", "tun")
    async with await HelperClient.start(box.launch()) as next_one:
        [report] = await next_one.recover()
    assert report.failures == ()
    assert "ktpy0" in box.links()


async def test_a_resolv_conf_that_somebody_else_has_rewritten_stays(box: Machine, helper: HelperClient) -> None:
    """A network change during the session: what the network's daemon wrote is right, the backup is old."""
    tun, sockets = await connect(helper)
    box.shell("echo nameserver 192.168.78.1 > /etc/resolv.conf")
    report = await helper.close()
    let_go(tun, sockets)
    assert report is not None
    assert report.left == ("/etc/resolv.conf is not what ktpy wrote any more: left as it is",)
    assert report.failures == ()
    assert box.resolv_conf == b"nameserver 192.168.78.1\n"


async def test_a_failed_undo_stops_nothing_and_can_be_repeated(box: Machine, helper: HelperClient) -> None:
    tun, sockets = await connect(helper)
    box.run("mount", "-o", "remount,bind,ro", "/etc")
    report = await helper.close()
    assert report is not None
    assert [failure.partition(":")[0] for failure in report.failures] == ["/etc/resolv.conf"]
    assert set(report.undone) == {"TUN device ktpy0"}
    box.run("mount", "-o", "remount,bind,rw", "/etc")
    let_go(tun, sockets)
    async with await HelperClient.start(box.launch()) as next_one:
        [report] = await next_one.recover()
    assert report.undone == ("/etc/resolv.conf",)
    assert box.resolv_conf == ORIGINAL


@pytest.mark.parametrize("first_ends", [0, 1], ids=["last in, first out", "first in, first out"])
@pytest.mark.parametrize("form", ["file", "symlink"])
async def test_two_at_once_end_in_any_order(box: Machine, form: str, first_ends: int) -> None:
    box.set_resolv_conf(form)
    before = box.state()
    helpers, held = [], []
    for number in range(2):
        helpers.append(await HelperClient.start(box.launch()))
        tun, sockets = await (
            connect(helpers[0])
            if number == 0
            else connect_elsewhere(helpers[1], [ip_network("10.97.0.0/16")], IPv4Address("127.18.1.53"))
        )
        held.append((tun, sockets))
    order = [0, 1] if first_ends else [1, 0]
    for number in order:
        await helpers[number].close()
        let_go(*held[number])
    assert box.state() == before


async def connect_elsewhere(
    helper: HelperClient, networks: list[object], address: Address
) -> tuple[Tun, list[socket.socket]]:
    tun = await helper.open_tun()
    await helper.add_routes(networks)  # type: ignore[arg-type]
    [bound] = await helper.bind_dns([address])
    await helper.set_resolver([address], search=["other.local"], cluster_domain="other.local")
    return tun, [bound.udp, bound.tcp]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
async def test_signals_of_a_terminal_do_not_reach_the_helper(helper: HelperClient, number: signal.Signals) -> None:
    os.kill(helper.hello.pid, number)
    await helper.detect_resolver()
    assert os.getsid(helper.hello.pid) == helper.hello.pid


AS_ANOTHER = ("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups")


@pytest.fixture
def held(box: Machine, request: pytest.FixtureRequest) -> Iterator[None]:
    """A process, started by a prefix, that holds an flock on each of some folders below /var/lib/ktpy."""
    prefix, folders = request.param
    for folder in folders:
        (box.root / "var/lib/ktpy" / folder).mkdir(parents=True, exist_ok=True)
    hold = "for folder; do flock /var/lib/ktpy/$folder sh -c 'echo held; sleep 60' & done; wait"
    command = [*box.prefix, *prefix, "sh", "-c", hold, "sh", *folders]
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as holding:
        assert holding.stdout is not None
        assert [holding.stdout.readline() for _ in folders] == [b"held\n"] * len(folders)
        yield
        os.killpg(holding.pid, signal.SIGKILL)


@pytest.mark.parametrize("held", [(AS_ANOTHER, (".", "journal"))], indirect=True)
@pytest.mark.usefixtures("held")
async def test_another_user_who_holds_what_he_can_holds_up_nothing(box: Machine) -> None:
    box.set_resolv_conf("file")
    before = box.state()
    helper = await HelperClient.start(box.launch())
    async with asyncio.timeout(5.0):  # which a lock that is held is waited for
        tun, sockets = await connect(helper)
        report = await helper.close()
    assert report is not None
    assert report.failures == ()
    let_go(tun, sockets)
    assert box.state() == before


@pytest.mark.parametrize("held", [((), ("locks",))], indirect=True)
@pytest.mark.usefixtures("held")
async def test_a_lock_that_root_holds_is_waited_for_so_long_and_then_its_holder_is_named(box: Machine) -> None:
    async with await HelperClient.start(box.launch()) as helper:
        with pytest.raises(
            HelperFailed, match=r"process \d+ \(flock\) of user root holds the lock /var/lib/ktpy/locks,"
        ):
            await helper.open_tun()
    assert box.links() == {"lo", "lan0", "far0"}
