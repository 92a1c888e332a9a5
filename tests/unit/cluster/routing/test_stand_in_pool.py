"""Which ranges stand in for those of the cluster's that a local network has, too."""

from ipaddress import ip_address, ip_network

import pytest

from ktpy.cluster.routing.networks import Network
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.cluster.routing.stand_in_pool import StandInPool
from ktpy.errors import RangeOverlap
from ktpy.helper.protocol import LocalNetwork
from ktpy.helper.server import TUN_LIMIT, plan_tun
from ktpy.packet.stand_ins import StandIns

CORP = LocalNetwork(ip_network("10.0.0.0/8"), "tun0")
CORP6 = LocalNetwork(ip_network("fd00::/16"), "tun0")


def networks(*texts: str) -> list[Network]:
    return list(map(ip_network, texts))


def ranges(*texts: str) -> list[RoutedRange]:
    return [RoutedRange(network, "pods", "a test") for network in networks(*texts)]


def test_what_overlaps_gets_free_ranges_as_large_and_the_rest_stays() -> None:
    stand_ins = StandIns()
    pool = StandInPool([], networks("240.0.0.0/16", "10.0.0.0/8"), stand_ins)
    found = pool.translated(
        ranges("10.96.0.0/12", "172.20.0.0/16", "10.244.0.0/24", "10.244.9.9", "fd00:96::/108"), [CORP, CORP6], []
    )
    assert list(map(str, found)) == [
        "10.96.0.0/12 as 240.16.0.0/12",
        "172.20.0.0/16",
        "10.244.0.0/24 as 240.1.0.0/24",
        "10.244.9.9/32 as 240.1.1.0/32",
        "fd00:96::/108 as fd6b:7472::/108",
    ]
    assert [one.routed for one in found[:2]] == networks("240.16.0.0/12", "172.20.0.0/16")
    [later] = pool.translated(ranges("10.1.0.0/24"), [CORP], [])
    assert later.stand_in == ip_network("240.1.2.0/24")
    assert stand_ins.of(ip_address("10.1.0.7").packed) == ip_address("240.1.2.7").packed


def test_an_include_is_the_clusters_as_it_is() -> None:
    pool = StandInPool([], [], StandIns())
    assert pool.translated(ranges("10.96.0.0/16"), [CORP], networks("10.0.0.0/8")) == ranges("10.96.0.0/16")


def test_a_pool_of_the_users_own_may_hold_the_tuns_own_addresses_which_nothing_gets() -> None:
    own = [plan_tun(number, 1500) for number in range(TUN_LIMIT)]
    pool = StandInPool(networks("198.18.0.0/15", "fd6b:7470:78::/47"), [], StandIns())
    for found in pool.translated(ranges("10.0.0.0/16", "fd00:96::/64"), [CORP, CORP6], []):
        assert found.stand_in is not None
        assert not [one for one in own if one.address4 in found.stand_in or one.address6 in found.stand_in]


def test_a_pool_of_the_users_own_may_be_too_small() -> None:
    pool = StandInPool(networks("198.19.0.0/16"), networks("198.19.0.0/17"), StandIns())
    with pytest.raises(RangeOverlap, match=r"10\.96\.0\.0/16 \(pods\)") as raised:
        pool.translated(ranges("10.96.0.0/16"), [CORP], [])
    assert raised.value.hint is not None
    assert "at least a /16" in raised.value.hint
    [found] = pool.translated(ranges("10.96.0.0/17"), [CORP], [])
    assert found.stand_in == ip_network("198.19.128.0/17")
