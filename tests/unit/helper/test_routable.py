from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from ktpy.helper.routable import ROUTES_LIMIT, is_default_route, is_reserved, refusal_together, reserved_in


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


def networks(*texts: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text) for text in texts]


PRIVATE = networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fd00::/8")


@pytest.mark.parametrize("more", [[], networks("240.0.0.0/8", "11.0.0.0/8", "2600:1f00::/24")])
def test_all_that_clusters_use_is_routed_together(more: list[IPv4Network | IPv6Network]) -> None:
    assert refusal_together([*PRIVATE, *more], {}) is None


@pytest.mark.parametrize(
    ("whole", "limit"),
    [("0.0.0.0/0", "4 ranges /8 of IPv4"), ("2000::/3", "2 ranges /8 of IPv6"), ("0.0.0.0/5", "4 ranges /8 of IPv4")],
)
@pytest.mark.parametrize("prefix_length", [8, 13])
def test_a_default_route_in_pieces(whole: str, limit: str, prefix_length: int) -> None:
    pieces = [*ip_network(whole).subnets(new_prefix=prefix_length)]
    assert refusal_together(pieces, {}) == f"together the routes would be wider than {limit}"


def test_as_many_routes_as_there_may_be() -> None:
    first = int(ip_address("10.0.0.0"))
    routes = [ip_network(first + number) for number in range(ROUTES_LIMIT + 1)]
    assert refusal_together(routes[1:], {}) is None
    assert refusal_together(routes, {}) == "there would be 32769 routes, and ktpy makes 32768 at most"


@pytest.mark.parametrize("address", ["10.0.0.53", "fd00::53"])
def test_what_the_machine_reaches_without_the_tunnel_stays_outside(address: str) -> None:
    outside = {ip_address(address): "a name server of this machine"}
    refusal = refusal_together(PRIVATE, outside)
    assert refusal is not None
    assert refusal.endswith(f"/8 holds {address}, a name server of this machine")
    assert refusal_together(networks("10.1.0.0/16", "fd00:1::/32"), outside) is None
