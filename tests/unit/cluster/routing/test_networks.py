from ipaddress import ip_address, ip_network

import pytest

from ktpy.cluster.routing.networks import (
    Network,
    aggregate,
    covering,
    enclosing,
    is_covered,
    outranking,
    overlaps,
    subtract,
)
from ktpy.helper.protocol import LocalNetwork


def networks(*texts: str) -> list[Network]:
    return [ip_network(text) for text in texts]


def test_aggregate_joins_neighbours_of_both_families() -> None:
    ranges = networks("10.244.1.0/24", "fd44::/65", "10.244.0.0/24", "fd44:0:0:0:8000::/65", "10.244.0.7/32")
    assert aggregate(ranges) == networks("10.244.0.0/23", "fd44::/64")


def test_aggregate_never_widens() -> None:
    assert aggregate(networks("10.244.0.1/32", "10.244.0.2/32")) == networks("10.244.0.1/32", "10.244.0.2/32")


def test_subtract_cuts_a_hole() -> None:
    left = subtract(networks("10.0.0.0/30", "fd00::/126"), networks("10.0.0.1/32", "fd00::3/128"))
    assert left == networks("10.0.0.0/32", "10.0.0.2/31", "fd00::/127", "fd00::2/128")


@pytest.mark.parametrize("hole", ["10.0.0.0/8", "10.1.0.0/16"])
def test_subtract_all(hole: str) -> None:
    assert subtract(networks("10.1.0.0/16"), networks(hole)) == []


def test_subtract_what_is_not_there() -> None:
    assert subtract(networks("10.1.0.0/16"), networks("10.2.0.0/16", "fd00::/8")) == networks("10.1.0.0/16")


@pytest.mark.parametrize(
    ("taken", "routes"),
    [
        ("10.1.0.0/16", ["10.1.0.0/17", "10.1.128.0/17", "10.2.0.1/32", "fd00::/64"]),
        ("fd00::/64", ["10.1.0.0/16", "10.2.0.1/32", "fd00::/65", "fd00::8000:0:0:0/65"]),
        ("10.1.0.0/24", ["10.1.0.0/16", "10.2.0.1/32", "fd00::/64"]),
        ("10.2.0.1/32", ["10.1.0.0/16", "10.2.0.1/32", "fd00::/64"]),
    ],
)
def test_a_route_to_a_network_that_is_taken_is_outranked_by_its_halves(taken: str, routes: list[str]) -> None:
    wanted = networks("10.1.0.0/16", "10.2.0.1/32", "fd00::/64")
    assert outranking(wanted, networks(taken)) == networks(*routes)


def test_subtract_many_holes_keeps_every_other_address() -> None:
    holes = networks("10.0.0.0/32", "10.0.0.77/32", "10.0.0.128/26", "10.0.0.255/32")
    left = subtract(networks("10.0.0.0/24"), holes)
    assert sum(network.num_addresses for network in left) == 256 - 67
    assert not any(part.overlaps(hole) for part in left for hole in holes)


@pytest.mark.parametrize(
    ("cluster", "local", "shared"),
    [
        ("10.96.0.0/12", "10.100.0.0/16", "10.100.0.0/16"),
        ("10.96.0.0/16", "10.0.0.0/8", "10.96.0.0/16"),
        ("fd00::/108", "fd00::/64", "fd00::/108"),
    ],
)
def test_overlaps_names_the_shared_part(cluster: str, local: str, shared: str) -> None:
    home = LocalNetwork(ip_network(local), "wlan0")
    [overlap] = overlaps(networks(cluster), [home])
    assert (overlap.network, overlap.local, overlap.shared) == (ip_network(cluster), home, ip_network(shared))


@pytest.mark.parametrize("local", ["0.0.0.0/0", "::/0", "192.168.1.0/24", "fd00::/64"])
def test_no_overlap_with_a_default_route_or_another_range(local: str) -> None:
    assert overlaps(networks("10.96.0.0/16"), [LocalNetwork(ip_network(local), "eth0")]) == []


@pytest.mark.parametrize(
    ("allowed", "count"), [("10.96.5.0/24", 0), ("10.96.0.0/16", 0), ("10.96.5.0/25", 1), ("10.97.0.0/16", 1)]
)
def test_an_overlap_is_allowed_where_it_is_wholly_named(allowed: str, count: int) -> None:
    vpn = LocalNetwork(ip_network("10.96.5.0/24"), "tun9")
    found = overlaps(networks("10.96.0.0/16"), [vpn], allowed=networks(allowed))
    assert len(found) == count


@pytest.mark.parametrize(
    ("addresses", "ranges"),
    [
        ([], []),
        (["10.96.0.1"], ["10.96.0.1/32"]),
        (["10.96.0.1", "10.96.0.2"], ["10.96.0.0/30"]),
        (["10.96.200.1", "10.96.0.10", "fd96::1", "fd96::f:1"], ["10.96.0.0/16", "fd96::/108"]),
        (["fd96::2:0", "fd96::3:ffff"], ["fd96::2:0/111"]),
    ],
)
def test_covering_is_the_smallest_common_range(addresses: list[str], ranges: list[str]) -> None:
    assert covering(map(ip_address, addresses)) == networks(*ranges)


def test_enclosing_is_the_smallest_range_around_ranges() -> None:
    assert enclosing(networks("10.0.1.0/24", "10.0.2.5/32", "fd00::1/128")) == networks("10.0.0.0/22", "fd00::1/128")
    assert enclosing(networks("10.0.1.0/24")) == networks("10.0.1.0/24")


def test_is_covered_keeps_the_families_apart() -> None:
    assert is_covered(ip_address("10.0.0.1"), networks("::/0", "10.0.0.0/8"))
    assert not is_covered(ip_address("10.0.0.1"), networks("::/0"))
