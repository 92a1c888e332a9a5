"""The TUN device."""

import os
import sys
from ipaddress import IPv4Address, IPv6Address

import pytest

from ktpy.errors import HelperFailed, TunUnavailable
from ktpy.helper import journal
from ktpy.helper.client import HelperClient
from ktpy.helper.routes import QUEUE_PACKETS
from ktpy.packet.headers import VNET_HEADER_BYTES
from tests.kit.waiting import until
from tests.net.helper.machine import Machine
from tests.net.helper.session import NETWORKS, opened

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


async def test_tun_is_up_with_addresses_of_both_families(box: Machine, helper: HelperClient) -> None:
    async with opened(helper) as tun:
        shown = box.run("ip", "addr", "show", "ktpy0")
        assert "UP,LOWER_UP" in shown
        assert "mtu 1500" in shown
        assert f"qlen {QUEUE_PACKETS}" in shown
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
