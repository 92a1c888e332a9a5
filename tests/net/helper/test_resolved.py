"""The real systemd-resolved, on a bus of its own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ktpy.helper.client import HelperClient
from tests.kit.waiting import until
from tests.lab.resolved import in_cache
from tests.net.helper.machine import Machine, is_running
from tests.net.helper.session import ENDS, SEARCH, answering, connect, let_go

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.fixture(scope="session")
def resolved() -> Path:
    return in_cache()


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
