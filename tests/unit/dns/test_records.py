from ipaddress import ip_network

import pytest

from ktpy.dns.records import (
    ancestors,
    dashed,
    normalised,
    packed,
    reverse_name,
    reverse_zones,
    reversed_address,
    undashed,
)


@pytest.mark.parametrize(
    ("address", "label"),
    [("10.244.0.5", "10-244-0-5"), ("fd44::5", "fd44--5"), ("fd44::", "fd44--0"), ("fd44:1::2:3", "fd44-1--2-3")],
)
def test_an_address_becomes_the_label_coredns_makes_of_it(address: str, label: str) -> None:
    assert dashed(packed(address)) == label
    assert undashed(label) == packed(address)


@pytest.mark.parametrize("label", ["web", "10-244-0", "10-244-0-256", "10--244-0-5-x", "", "1-2-3-4-5"])
def test_a_label_that_is_no_address(label: str) -> None:
    assert undashed(label) is None


@pytest.mark.parametrize("address", ["10.96.0.1", "255.255.255.255", "fd96::1", "::"])
def test_a_reverse_name_leads_back(address: str) -> None:
    assert reversed_address(reverse_name(packed(address))) == packed(address)


@pytest.mark.parametrize(
    "name",
    [
        "96.10.in-addr.arpa",
        "1.0.96.10.0.in-addr.arpa",
        "256.0.96.10.in-addr.arpa",
        "01.0.96.10.in-addr.arpa",
        "x.0.96.10.in-addr.arpa",
        "-1.0.96.10.in-addr.arpa",
        "²." + "0.96.10.in-addr.arpa",
        "0.d.f.ip6.arpa",
        "g" + ".0" * 31 + ".ip6.arpa",
        "in-addr.arpa",
        "example.arpa",
    ],
)
def test_a_reverse_name_that_is_no_whole_address(name: str) -> None:
    assert reversed_address(name) is None


@pytest.mark.parametrize("text", ["", "web", "10.0.0", "10.0.0.1/32", "fe80::1%eth0", "None"])
def test_packed_refuses_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        packed(text)


@pytest.mark.parametrize(
    ("network", "zones"),
    [
        ("10.96.0.0/16", ["96.10.in-addr.arpa"]),
        ("10.244.8.0/22", [f"{octet}.244.10.in-addr.arpa" for octet in (8, 9, 10, 11)]),
        ("10.244.0.7/32", ["7.0.244.10.in-addr.arpa"]),
        ("10.0.0.0/8", ["10.in-addr.arpa"]),
        ("fd96::/16", ["6.9.d.f.ip6.arpa"]),
        ("fd90::/14", ["0.9.d.f.ip6.arpa", "1.9.d.f.ip6.arpa", "2.9.d.f.ip6.arpa", "3.9.d.f.ip6.arpa"]),
    ],
)
def test_reverse_zones_cover_a_network_exactly(network: str, zones: list[str]) -> None:
    assert list(reverse_zones(ip_network(network))) == zones


def test_ancestors_start_with_the_name_itself() -> None:
    assert list(ancestors("a.b.c")) == ["a.b.c", "b.c", "c"]


def test_zone_names_compare_without_case_and_dots() -> None:
    assert normalised(["Corp.", "~lab.example"]) == {"corp", "lab.example"}
