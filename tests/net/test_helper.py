"""The helper for real: TUN devices, routes, resolvers and killed processes, on a machine of the test's own."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import dnslib
import pytest
import uvloop

from ktpy.errors import HelperFailed, PrivilegeMissing, ResolverNotWritable, TunUnavailable
from ktpy.helper import journal
from ktpy.helper.client import HelperClient, Tun
from ktpy.helper.launch import launch
from ktpy.helper.wire import Address
from ktpy.packet.headers import VNET_HEADER_BYTES
from tests.lab.resolved import unpacked
from tests.net.helper_fixtures import ORIGINAL, Machine, is_running, machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

LOOPBACK = IPv4Address("127.18.0.53")
NETWORKS = [ip_network("10.96.0.0/16"), ip_network("10.244.0.0/24"), ip_network("fd96::/108")]
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
FORMS = ("file", "symlink", "bind-mount", "absent")
DEADLINE_S = 10.0


@pytest.fixture
def box() -> Iterator[Machine]:
    with machine() as made:
        yield made


@pytest.fixture
async def helper(box: Machine) -> AsyncIterator[HelperClient]:
    box.set_resolv_conf("file")
    async with await HelperClient.start(box.launch()) as started:
        yield started


@contextlib.asynccontextmanager
async def opened(helper: HelperClient) -> AsyncIterator[Tun]:
    tun = await helper.open_tun()
    try:
        yield tun
    finally:
        os.close(tun.descriptor)


async def connect(helper: HelperClient, address: Address | None = LOOPBACK) -> tuple[Tun, list[socket.socket]]:
    """Everything `ktpy connect` asks for; name server at `address`, or (None) the TUN's own.

    The caller closes what comes back.
    """
    with contextlib.ExitStack() as on_failure:
        tun = await helper.open_tun()
        on_failure.callback(os.close, tun.descriptor)
        await helper.add_routes(NETWORKS)
        nameserver = address or tun.opened.address4.ip
        [bound] = await helper.bind_dns([nameserver])
        on_failure.enter_context(bound.udp)
        on_failure.enter_context(bound.tcp)
        await helper.set_resolver([nameserver], search=SEARCH, cluster_domain="cluster.local")
        on_failure.pop_all()
    return tun, [bound.udp, bound.tcp]


def let_go(tun: Tun, sockets: list[socket.socket]) -> None:
    os.close(tun.descriptor)
    for sock in sockets:
        sock.close()


async def until(condition: Callable[[], bool]) -> None:
    """For what the kernel does in its own time, such as ending a process that was killed."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the kernel sets no asyncio.Event
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def answering(udp: socket.socket, address: str) -> Iterator[list[str]]:
    """A DNS server on a bound socket: every A is `address`, of names in the cluster. Yields the names asked."""
    asked: list[str] = []
    udp.setblocking(True)

    def serve() -> None:
        while True:
            packet, client = udp.recvfrom(4096)
            if not packet:
                return
            query = dnslib.DNSRecord.parse(packet)
            name = str(query.q.qname)
            asked.append(name)
            answer = query.reply()
            if not name.endswith((".cluster.local.", "corp.example.")):
                answer.header.rcode = dnslib.RCODE.NXDOMAIN
            elif query.q.qtype == dnslib.QTYPE.A:
                answer.add_answer(*dnslib.RR.fromZone(f"{name} 1 A {address}"))
            udp.sendto(answer.pack(), client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        with contextlib.suppress(OSError):  # an unconnected socket says so, and wakes its reader all the same
            udp.shutdown(socket.SHUT_RD)
        thread.join()


# --- the TUN device


async def test_tun_is_up_with_addresses_of_both_families(box: Machine, helper: HelperClient) -> None:
    async with opened(helper) as tun:
        shown = box.run("ip", "addr", "show", "ktpy0")
        assert "UP,LOWER_UP" in shown
        assert "mtu 1500" in shown
        assert "inet 198.18.0.1/30" in shown
        assert "inet6 fd6b:7470:79::1/126" in shown
        assert "fe80" not in shown
        assert tun.opened.peer4 == IPv4Address("198.18.0.2")
        assert tun.opened.peer6 == IPv6Address("fd6b:7470:79::2")


async def test_tun_hands_over_packets_with_offload_header(box: Machine, helper: HelperClient) -> None:
    async with opened(helper) as tun:
        await helper.add_routes(NETWORKS)
        script = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'hello', ('10.96.0.1', 7))"
        box.run(sys.executable, "-c", script)
        packet = os.read(tun.descriptor, 65536 + VNET_HEADER_BYTES)
        assert packet[VNET_HEADER_BYTES] >> 4 == 4
        assert packet[VNET_HEADER_BYTES + 16 : VNET_HEADER_BYTES + 20] == IPv4Address("10.96.0.1").packed
        assert packet.endswith(b"hello")


async def test_tun_descriptor_does_not_block(helper: HelperClient) -> None:
    async with opened(helper) as tun:
        assert not os.get_blocking(tun.descriptor)


async def test_tun_vanishes_with_the_main_process_alone(box: Machine, helper: HelperClient) -> None:
    """The helper keeps no copy of the descriptor."""
    tun = await helper.open_tun()
    os.close(tun.descriptor)
    await until(lambda: "ktpy0" not in box.links())


async def test_tun_without_ipv6(box: Machine, helper: HelperClient) -> None:
    box.shell("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1")
    async with opened(helper) as tun:
        assert (tun.opened.address6, tun.opened.peer6) == (None, None)
        with pytest.raises(HelperFailed, match="IPv6 is disabled"):
            await helper.add_routes(NETWORKS)
        assert box.routes("ktpy0") == set()


async def test_tun_avoids_a_range_in_use(box: Machine, helper: HelperClient) -> None:
    box.run("ip", "addr", "add", "198.18.0.1/16", "dev", "lan0")
    async with opened(helper) as tun:
        assert tun.opened.name == "ktpy1"


async def test_one_helper_opens_one_tun(box: Machine, helper: HelperClient) -> None:
    async with opened(helper):
        with pytest.raises(HelperFailed, match="opened ktpy0 already"):
            await helper.open_tun()


async def test_no_tun_device_on_this_machine(box: Machine, helper: HelperClient) -> None:
    box.run("mount", "-t", "tmpfs", "tmpfs", "/dev/net")
    with pytest.raises(TunUnavailable, match="has no TUN device") as caught:
        await helper.open_tun()
    assert "modprobe tun" in (caught.value.hint or "")
    assert journal.pending_of(journal.journal_ids(box.journal_dir)[0], box.journal_dir) == ()


async def test_a_second_helper_takes_the_next_tun(box: Machine, helper: HelperClient) -> None:
    async with opened(helper), await HelperClient.start(box.launch()) as second, opened(second) as tun:
        assert tun.opened.name == "ktpy1"
        assert str(tun.opened.address4) == "198.18.1.1/30"
        assert str(tun.opened.address6) == "fd6b:7470:79:1::1/126"


# --- routes and local networks


async def test_routes_of_both_families(box: Machine, helper: HelperClient) -> None:
    async with opened(helper):
        await helper.add_routes(NETWORKS)
        assert box.routes("ktpy0") == {str(network) for network in NETWORKS}


async def test_routes_are_added_all_or_none(box: Machine, helper: HelperClient) -> None:
    box.run("ip", "route", "add", "10.244.0.0/24", "via", "192.168.77.1")
    async with opened(helper):
        with pytest.raises(HelperFailed, match=r"a route to 10\.244\.0\.0/24 already"):
            await helper.add_routes(NETWORKS)
        assert box.routes("ktpy0") == set()
        assert "via 192.168.77.1" in box.run("ip", "route", "show", "10.244.0.0/24")


async def test_routes_that_are_there_already_survive_a_failed_request(box: Machine, helper: HelperClient) -> None:
    box.run("ip", "route", "add", "10.244.0.0/24", "via", "192.168.77.1")
    async with opened(helper):
        await helper.add_routes(NETWORKS[:1])
        with pytest.raises(HelperFailed):
            await helper.add_routes(NETWORKS)
        assert box.routes("ktpy0") == {"10.96.0.0/16"}


async def test_routes_come_before_those_with_a_metric(box: Machine, helper: HelperClient) -> None:
    """The user has allowed the overlap, or we had not been asked."""
    box.shell("ip route add 10.96.0.0/16 via 192.168.77.1 metric 50; ip -6 route add fd96::/108 via fd77::1 metric 50")
    async with opened(helper):
        await helper.add_routes(NETWORKS)
        assert "dev ktpy0" in box.run("ip", "route", "get", "10.96.0.1")
        assert "dev ktpy0" in box.run("ip", "route", "get", "fd96::1")


async def test_routes_need_a_tun(helper: HelperClient) -> None:
    with pytest.raises(HelperFailed, match="no TUN device yet"):
        await helper.add_routes(NETWORKS)


async def test_local_networks_are_what_a_cluster_range_may_overlap(box: Machine, helper: HelperClient) -> None:
    box.shell(
        """
        ip route add default via 192.168.77.1
        ip route add 0.0.0.0/1 via 192.168.77.1
        ip route add 10.8.0.0/16 via 192.168.77.1 table 52
        ip route add blackhole 10.9.0.0/16
        ip -6 route add fd99::/48 via fd77::1
        ip addr add 172.30.0.5 peer 172.30.0.1 dev far0
        """
    )
    async with opened(helper):
        await helper.add_routes(NETWORKS)
        found = {(str(local.network), local.interface) for local in await helper.local_networks()}
    assert found == {
        ("192.168.77.0/24", "lan0"),
        ("fd77::/64", "lan0"),
        ("10.8.0.0/16", "lan0"),
        ("fd99::/48", "lan0"),
        ("172.30.0.1/32", "far0"),
        ("172.30.0.5/32", "far0"),
    }


async def test_networks_of_another_ktpy_are_local(box: Machine, helper: HelperClient) -> None:
    async with opened(helper), await HelperClient.start(box.launch()) as second, opened(second):
        await helper.add_routes(NETWORKS)
        found = {(str(local.network), local.interface) for local in await second.local_networks()}
    assert {(str(network), "ktpy0") for network in NETWORKS} <= found
    assert not any(interface == "ktpy1" for _, interface in found)


# --- what is refused


@pytest.mark.parametrize(
    "packet",
    [
        b"\x00\xff garbage",
        b"[]",
        b'{"Shutdown": {}}',
        b'{"OpenTun": {"mtu_bytes": "1500"}}',
        b'{"OpenTun": {"mtu_bytes": 1500, "name": "eth0"}}',
        b'{"AddRoutes": {"networks": ["0.0.0.0/0"]}}',
        b'{"AddRoutes": {"networks": ["10.96.0.0/16", "::/0"]}}',
        b'{"AddRoutes": {"networks": ["127.1.0.0/16"]}}',
        b'{"BindDns": {"addresses": ["0.0.0.0"]}}',
        b'{"BindDns": {"addresses": ["127.0.0.1"]}}',
        b'{"SetResolver": {"nameservers": ["8.8.8.8"], "search": [], "routing_domains": [], "cluster_domain": "a"}}',
        b'{"AddRoutes": {"networks": [' + b'"10.96.0.0/16",' * 20_000 + b"]}}",
    ],
    ids=lambda packet: packet[:60].decode("latin-1"),
)
async def test_what_is_not_allowed_is_refused_and_changes_nothing(
    box: Machine, helper: HelperClient, packet: bytes
) -> None:
    async with opened(helper):
        await until(lambda: "local fd6b:7470:79::1" in box.run("ip", "-6", "route", "show", "table", "local"))
        before = box.state()
        helper._channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        answer = asyncio.get_running_loop().create_future()
        helper._channel._waiting.append(answer)
        helper._channel._socket.send(packet)
        reply, _ = await answer
        assert reply.error == "HelperFailed"
        assert box.state() == before
        await helper.add_routes(NETWORKS)  # and it still serves


async def test_descriptors_are_not_accepted(helper: HelperClient) -> None:
    answer = asyncio.get_running_loop().create_future()
    helper._channel._waiting.append(answer)
    socket.send_fds(helper._channel._socket, [b'{"Recover": {}}'], [0])
    reply, _ = await answer
    assert "descriptors" in reply.message


async def test_no_name_server_of_somebody_else(helper: HelperClient) -> None:
    async with opened(helper):
        with pytest.raises(HelperFailed, match="bound port 53"):
            await helper.set_resolver([LOOPBACK], search=SEARCH, cluster_domain="cluster.local")


async def test_port_53_in_use(box: Machine, helper: HelperClient) -> None:
    [first] = await helper.bind_dns([LOOPBACK])
    with pytest.raises(HelperFailed, match=r"Port 53 on 127\.18\.0\.53 cannot be bound"):
        await helper.bind_dns([IPv4Address("127.18.1.53"), LOOPBACK])
    [second] = await helper.bind_dns([IPv4Address("127.18.1.53")])  # the failed request left nothing bound
    for sock in (first.udp, first.tcp, second.udp, second.tcp):
        sock.close()


# --- everything is undone, whoever ends


async def end_by_close(helper: HelperClient) -> None:
    report = await helper.close()
    assert report is not None
    assert (report.left, report.failures) == ((), ())


async def end_by_end_of_file(helper: HelperClient) -> None:
    """What the death of the main process looks like to the helper."""
    helper._channel.drop()


async def end_by_sigterm(helper: HelperClient) -> None:
    os.kill(helper.hello.pid, signal.SIGTERM)
    await helper.wait_closed()


ENDS = [end_by_close, end_by_end_of_file, end_by_sigterm]


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
        assert set(report.undone) == {"/etc/resolv.conf", "3 routes into ktpy0", "TUN device ktpy0"}
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
    assert found.pending == ("/etc/resolv.conf", "3 routes into ktpy0", "TUN device ktpy0")
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
    assert set(report.undone) == {"3 routes into ktpy0", "TUN device ktpy0"}
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


# --- /etc/resolv.conf


@pytest.mark.parametrize("form", FORMS)
async def test_plain_resolver_is_detected(box: Machine, form: str) -> None:
    box.set_resolv_conf(form)
    async with await HelperClient.start(box.launch()) as helper:
        found = await helper.detect_resolver()
    assert (found.kind, found.form) == ("resolv.conf", form)
    expected = ("127.0.0.1",) if form == "absent" else ("192.168.77.2",)
    assert found.nameservers == expected


@pytest.mark.parametrize("form", ["file", "symlink", "bind-mount"])
async def test_programs_ask_ktpy_first_and_short_names_work(box: Machine, form: str) -> None:
    box.set_resolv_conf(form)
    async with await HelperClient.start(box.launch()) as helper:
        tun, sockets = await connect(helper)
        with answering(sockets[0], "10.96.0.9"):
            assert "10.96.0.9" in box.run("getent", "ahostsv4", "web")
            assert "10.96.0.9" in box.run("getent", "ahostsv4", "web.shop")
        let_go(tun, sockets)


async def test_names_still_resolve_after_all_were_killed(box: Machine) -> None:
    """The dead loopback port refuses at once, and glibc asks the next, which is the user's own."""
    box.set_resolv_conf("file")
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    os.kill(helper.hello.pid, signal.SIGKILL)
    let_go(tun, sockets)
    await helper.wait_closed()
    with lan_resolver(box) as own, answering(own, "192.168.77.80"):
        began_s = time.monotonic()
        assert "192.168.77.80" in box.run("getent", "ahostsv4", "intranet.corp.example")
        assert time.monotonic() - began_s < 1.5  # no time-out of glibc's, which are of 2 s and more
    await helper.close()


@contextlib.contextmanager
def lan_resolver(box: Machine) -> Iterator[socket.socket]:
    """Port 53 of the machine's lan address: what ORIGINAL names. Made in the machine's namespace by a short visit."""
    script = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
        "s.bind(('192.168.77.2',53))\n"
        "socket.send_fds(socket.socket(fileno=0),[b'x'],[s.fileno()])\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subprocess.run([*box.prefix, sys.executable, "-c", script], stdin=theirs.fileno(), check=True)
        _, [descriptor], _, _ = socket.recv_fds(ours, 1, 1)
    with socket.socket(fileno=descriptor) as sock:
        yield sock


async def test_read_only_resolv_conf(box: Machine, helper: HelperClient) -> None:
    box.run("mount", "-o", "remount,bind,ro", "/etc")
    await refused_resolver(box, helper, "read-only file system")


async def test_immutable_resolv_conf(box: Machine, helper: HelperClient) -> None:
    box.run("mount", "-t", "tmpfs", "tmpfs", "/etc")
    (box.root / "etc/resolv.conf").write_bytes(ORIGINAL)
    box.run("chattr", "+i", "/etc/resolv.conf")
    await refused_resolver(box, helper, r"protected against changes \(chattr \+i\)")


async def refused_resolver(box: Machine, helper: HelperClient, reason: str) -> None:
    async with opened(helper):
        [bound] = await helper.bind_dns([LOOPBACK])
        before = box.state()
        with pytest.raises(ResolverNotWritable, match=reason) as caught:
            await helper.set_resolver([LOOPBACK], search=SEARCH, cluster_domain="cluster.local")
        assert caught.value.hint
        assert box.state() == before
        bound.udp.close()
        bound.tcp.close()


# --- systemd-resolved


@pytest.fixture(scope="session")
def resolved() -> Path:
    return unpacked()


async def test_systemd_resolved_resolves_short_names_and_forgets_them(box: Machine, resolved: Path) -> None:
    box.start_resolved(resolved)
    before = box.state()
    helper = await HelperClient.start(box.launch())
    assert (await helper.detect_resolver()).kind == "systemd-resolved"
    tun = await helper.open_tun()
    address = tun.opened.address4.ip
    [bound] = await helper.bind_dns([address])
    await helper.set_resolver(
        [address], search=SEARCH, routing_domains=["96.10.in-addr.arpa"], cluster_domain="cluster.local"
    )
    with answering(bound.udp, "10.96.0.9") as asked:
        for name in ("web", "web.shop", "web.shop.svc.cluster.local"):
            assert "10.96.0.9" in box.run("getent", "ahostsv4", name), name
        box.run("getent", "ahostsv4", "elsewhere.example", check=False)
        assert "elsewhere.example." not in asked
        box.run("resolvectl", "query", "10.96.0.7", check=False)
        assert "7.0.96.10.in-addr.arpa." in asked
    let_go(tun, [bound.udp, bound.tcp])
    await helper.close()
    assert box.state() == before


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_systemd_resolved_is_as_before(
    box: Machine, resolved: Path, end: Callable[[HelperClient], object]
) -> None:
    box.start_resolved(resolved)
    before = box.state() | {"resolved": box.run("resolvectl", "domain")}
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper, address=None)
    assert box.state() != before
    await end(helper)  # type: ignore[misc]
    await until(lambda: not is_running(helper.hello.pid))
    assert box.state() | {"resolved": box.run("resolvectl", "domain")} == before
    let_go(tun, sockets)
    await helper.close()


async def test_systemd_resolved_heals_by_itself_when_all_are_killed(box: Machine, resolved: Path) -> None:
    box.start_resolved(resolved)
    before = box.state()
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper, address=None)
    os.kill(helper.hello.pid, signal.SIGKILL)
    let_go(tun, sockets)
    await until(lambda: box.state() == before)
    await helper.close()


async def test_systemd_resolved_with_a_static_file(box: Machine, resolved: Path) -> None:
    """The stub serves, but nobody keeps the file's search domains: they are written into it."""
    box.start_resolved(resolved)
    box.shell("rm /etc/resolv.conf")
    box.set_resolv_conf("file", b"nameserver 127.0.0.53\noptions edns0\nsearch corp.example\n")
    before = box.state()
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper, address=None)
    with answering(sockets[0], "10.96.0.9"):
        assert "10.96.0.9" in box.run("getent", "ahostsv4", "web")
    assert b"nameserver 127.0.0.53\nsearch shop.svc.cluster.local" in box.resolv_conf
    await helper.close()
    let_go(tun, sockets)
    assert box.state() == before


async def test_a_running_systemd_resolved_that_nobody_asks_is_left_alone(box: Machine, resolved: Path) -> None:
    box.start_resolved(resolved)
    box.shell("ln -sfn ../run/systemd/resolve/resolv.conf /etc/resolv.conf")
    async with await HelperClient.start(box.launch()) as helper:
        found = await helper.detect_resolver()
    assert (found.kind, found.form) == ("resolv.conf", "symlink")


# --- sudo


def allow_sudo(box: Machine, *lines: str) -> None:
    policy = "".join(f"{line}\n" for line in ("Defaults !lecture", *lines))
    box.shell(f"cat > /etc/sudoers.d/dev <<'END'\n{policy}END\nchmod 440 /etc/sudoers.d/dev")


@pytest.mark.parametrize(
    "defaults", ["use_pty", "!use_pty", "closefrom=3", "requiretty"], ids=lambda defaults: defaults
)
async def test_helper_behind_sudo_outlives_sudo_and_the_terminal(box: Machine, defaults: str) -> None:
    allow_sudo(box, "dev ALL=(ALL) NOPASSWD: ALL", f"Defaults {defaults}")
    box.set_resolv_conf("file")
    before = box.state()
    launched = box.launch_by_sudo()
    async with await HelperClient.start(launched) as helper:
        assert helper.hello.owner_uid == 4711
        assert await asyncio.to_thread(launched._process.wait, DEADLINE_S) == 0  # sudo is gone, its terminal too
        tun, sockets = await connect(helper)
        let_go(tun, sockets)
    assert box.state() == before


async def test_sudo_asks_for_the_password_on_the_terminal(box: Machine) -> None:
    allow_sudo(box, "dev ALL=(ALL) ALL")
    box.shell("echo dev:secret | chpasswd -c SHA512")
    async with await HelperClient.start(box.launch_by_sudo(password="secret")) as helper:
        assert helper.hello.owner_uid == 4711


async def test_sudo_without_a_password(box: Machine) -> None:
    allow_sudo(box, "dev ALL=(ALL) ALL")
    with pytest.raises(PrivilegeMissing, match=r"sudo refuses \(sudo: a password is required\)") as caught:
        await HelperClient.start(box.launch_by_sudo("-n"))
    assert "sudo ktpy connect" in (caught.value.hint or "")


async def test_sudo_forbids(box: Machine) -> None:
    allow_sudo(box, "dev ALL=(ALL) NOPASSWD: /bin/true")
    with pytest.raises(PrivilegeMissing, match="sudo refuses"):
        await HelperClient.start(box.launch_by_sudo("-n"))


async def test_sudo_that_logs_input_is_told_from_one_that_refuses(box: Machine) -> None:
    allow_sudo(box, "dev ALL=(ALL) NOPASSWD: ALL", "Defaults log_input")
    with pytest.raises(HelperFailed, match="log_input"):
        await HelperClient.start(box.launch_by_sudo("-n"))


async def test_helper_is_nothing_without_root(box: Machine) -> None:
    may_read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # this checkout, wherever it is
    with pytest.raises(PrivilegeMissing, match="not started as root"):
        await HelperClient.start(box.launch("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", *may_read))


async def test_helper_works_for_nobody_but_its_caller(box: Machine) -> None:
    """A socket made by one user, sudo called by another."""
    launched = box.launch("env", "SUDO_UID=4712")
    async with await HelperClient.start(launched) as helper:
        assert helper.hello.owner_uid == 4712  # made by root: whoever called sudo


async def test_helper_that_cannot_start_says_why(box: Machine) -> None:
    with pytest.raises(HelperFailed, match="No such file"):
        await HelperClient.start(launch(["/nonexistent"]))


def test_client_on_uvloop(box: Machine) -> None:
    """The loop `ktpy connect` runs on where there is one."""

    async def session() -> None:
        async with await HelperClient.start(box.launch()) as helper, opened(helper):
            await helper.add_routes(NETWORKS)
            asking = asyncio.create_task(helper.local_networks(), name="asking")
            await asyncio.sleep(0)
            asking.cancel()
            assert (await helper.detect_resolver()).kind == "resolv.conf"  # not the answer to the cancelled one

    box.set_resolv_conf("file")
    before = box.state()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(session())
    assert box.state() == before


async def test_starting_costs_little(box: Machine) -> None:
    """The first answer is due within 0.5 s. Processor time says so on a busy machine too; pyroute2 is most of it."""
    box.set_resolv_conf("file")
    async with await HelperClient.start(box.launch()) as helper:
        await helper.recover()
        assert processor_time_s(helper.hello.pid) < 0.4


def processor_time_s(pid: int) -> float:
    """proc_pid_stat(5): utime and stime, the 14th and 15th field; the second, a name in brackets, may hold blanks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
