"""/etc/resolv.conf in every form it has on machines."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from ktpy.capture.tun.resolver_keeper import keep_resolver
from ktpy.errors import ResolverNotWritable
from ktpy.helper.client import HelperClient
from ktpy.helper.protocol import SetResolver
from tests.net.helper.machine import ORIGINAL, Machine
from tests.net.helper.session import FORMS, LOOPBACK, SEARCH, answering, connect, let_go, opened

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


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
        took_s = []
        for _ in range(3):
            began_s = time.monotonic()
            assert "192.168.77.80" in box.run("getent", "ahostsv4", "intranet.corp.example")
            took_s.append(time.monotonic() - began_s)
        assert min(took_s) < 1.8  # no time-out of glibc's, which are of 2 s and more
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


@pytest.mark.parametrize("form", ["file", "symlink"])
@pytest.mark.parametrize("new_form", ["file", "symlink"])
async def test_a_replaced_file_is_written_over_within_a_second_and_comes_back_in_the_end(
    box: Machine, form: str, new_form: str
) -> None:
    """As network managers do it: another file, or a link to one, is renamed over it."""
    box.set_resolv_conf(form)
    helper = await HelperClient.start(box.launch())
    tun, sockets = await connect(helper)
    used: list[Sequence[str]] = []
    changes = keep_resolver(
        helper.detect_resolver,
        lambda _: SetResolver((LOOPBACK,), SEARCH, (), "cluster.local"),
        lambda request: helper.set_resolver(
            request.nameservers, search=request.search, cluster_domain=request.cluster_domain
        ),
        used.append,
        path=box.root / "etc/resolv.conf",
    )
    telling = asyncio.ensure_future(anext(changes))
    box.shell("echo nameserver 192.168.77.3 > /etc/new.conf; cp /etc/new.conf /etc/next.conf")
    box.shell("mv /etc/next.conf /etc/resolv.conf" if new_form == "file" else "ln -sfn new.conf /etc/resolv.conf")
    before = box.run("stat", "-c", "%N %y", "/etc/resolv.conf"), box.resolv_conf
    async with asyncio.timeout(60):
        assert "was replaced; ktpy wrote over it again and asks 192.168.77.3" in await telling
    assert used == [("192.168.77.3",)]
    with answering(sockets[0], "10.96.0.9"):
        assert "10.96.0.9" in box.run("getent", "ahostsv4", "web.shop")
    let_go(tun, sockets)
    report = await helper.close()
    assert report is not None
    assert (report.left, report.failures) == ((), ())
    assert (box.run("stat", "-c", "%N %y", "/etc/resolv.conf"), box.resolv_conf) == before
