"""Routes into the TUN, and which networks count as local."""

import os
import sys
from ipaddress import ip_address, ip_network

import pytest

from ktpy.errors import HelperFailed, RangeOverlap
from ktpy.helper.client import HelperClient
from ktpy.helper.routable import WIDEST_TOGETHER, reserved_in
from tests.net.helper.machine import Machine
from tests.net.helper.session import NETWORKS, opened

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


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


@pytest.mark.parametrize(
    ("whole", "prefix_length"), [("0.0.0.0/0", 8), ("16.0.0.0/5", 8), ("16.0.0.0/5", 11), ("2000::/3", 8)]
)
async def test_no_default_route_in_pieces(box: Machine, helper: HelperClient, whole: str, prefix_length: int) -> None:
    pieces = [piece for piece in ip_network(whole).subnets(new_prefix=prefix_length) if reserved_in(piece) is None]
    limit = WIDEST_TOGETHER[pieces[0].version] << prefix_length - 8
    async with opened(helper):
        for piece in pieces[:limit]:
            await helper.add_routes([piece])
        with pytest.raises(RangeOverlap, match=r"together the routes would be wider than . ranges /8 of IPv"):
            await helper.add_routes([pieces[limit]])
        assert box.routes("ktpy0") == {str(piece) for piece in pieces[:limit]}


async def test_no_route_to_what_the_machine_reaches_itself(box: Machine, helper: HelperClient) -> None:
    box.set_resolv_conf("file", b"nameserver 10.96.0.53\nnameserver fd96::53\n")
    async with opened(helper):
        await helper.keep_outside([ip_address("10.244.0.7")])
        for network, why in {
            "10.96.0.0/16": "holds 10.96.0.53, a name server of this machine",
            "fd96::/108": "holds fd96::53, a name server of this machine",
            "10.244.0.0/24": "holds 10.244.0.7, the way to the API server",
        }.items():
            with pytest.raises(RangeOverlap, match=why):
                await helper.add_routes([ip_network("10.9.0.0/16"), ip_network(network)])
        assert box.routes("ktpy0") == set()
        await helper.add_routes([ip_network("10.96.1.0/24")])
        assert box.routes("ktpy0") == {"10.96.1.0/24"}


async def test_routes_that_have_vanished_are_restored(box: Machine, helper: HelperClient) -> None:
    async with opened(helper):
        await helper.add_routes(NETWORKS)
        assert await helper.restore_routes() == ()
        box.run("ip", "route", "del", "10.96.0.0/16", "dev", "ktpy0")
        assert await helper.restore_routes() == (NETWORKS[0],)
        before = box.run("ip", "address", "show", "dev", "ktpy0")
        box.run("ip", "link", "set", "ktpy0", "down")  # its IPv6 address goes, too
        assert set(await helper.restore_routes()) == set(NETWORKS)
        assert box.run("ip", "address", "show", "dev", "ktpy0") == before
        assert box.routes("ktpy0") == {str(network) for network in NETWORKS}


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


def test_the_way_out_tells_its_link_and_the_largest_packet(box: Machine) -> None:
    box.shell("ip link set lan0 mtu 1420\nip route add 10.8.0.0/16 via 192.168.77.1 mtu 1300")
    ask = "import sys, ipaddress, ktpy.helper.routes as r; print(*r.way_to(ipaddress.ip_address(sys.argv[1])))"
    found = [box.run(sys.executable, "-c", ask, one).strip() for one in ("192.168.77.1", "fd77::1", "10.8.0.1")]
    assert found == ["lan0 1420", "lan0 1420", "lan0 1300"]
    with pytest.raises(Exception, match=r"HelperFailed: This machine has no way to 10\.9\.0\.1"):
        box.run(sys.executable, "-c", ask, "10.9.0.1")
