from ipaddress import ip_network

import pytest

from ktpy.helper.routable import is_default_route, is_reserved, reserved_in


@pytest.mark.parametrize(
    "address", ["127.0.0.53", "169.254.169.254", "0.0.0.0", "239.1.1.1", "255.255.255.255", "::1", "fe80::1", "ff02::1"]
)
def test_never_routed(address: str) -> None:
    assert is_reserved(ip_network(address))


@pytest.mark.parametrize("network", ["::/127", "::1:0/112", "::ffff:10.0.0.0/112"])
def test_ipv4_in_the_form_of_ipv6_is_never_routed(network: str) -> None:
    assert is_reserved(ip_network(network))


@pytest.mark.parametrize("address", ["10.0.0.1", "100.64.0.1", "240.0.0.1", "fd00::1", "2001:db8::1"])
def test_what_clusters_use_is_routed(address: str) -> None:
    assert reserved_in(ip_network(address)) is None


def test_a_range_that_is_only_partly_reserved() -> None:
    network = ip_network("169.0.0.0/8")
    assert reserved_in(network) == ip_network("169.254.0.0/16")
    assert not is_reserved(network)


@pytest.mark.parametrize(("network", "expected"), [("0.0.0.0/1", True), ("100.0.0.0/7", True), ("10.0.0.0/8", False)])
def test_a_default_route_in_disguise(network: str, expected: bool) -> None:
    assert is_default_route(ip_network(network)) is expected
