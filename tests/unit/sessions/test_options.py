from ipaddress import ip_network

import pytest

from ktpy.sessions.options import ConnectOptions, refusal_of_include, refusal_of_zone


def test_the_defaults_take_pods_and_names() -> None:
    options = ConnectOptions()
    assert options.pods
    assert options.dns
    assert options.include == options.exclude == options.dns_zones == ()


@pytest.mark.parametrize("network", ["10.0.0.0/8", "fd00::/64", "0.0.0.0/0"])
def test_a_range_that_may_be_routed(network: str) -> None:
    """Choosing the ranges refuses the whole address space, with a sentence of its own."""
    assert refusal_of_include(ip_network(network)) is None


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ("127.1.0.0/16", "127.1.0.0/16 lies in 127.0.0.0/8, which is never routed."),
        ("0.0.0.0/1", "0.0.0.0/1 is as wide as a default route, which ktpy never takes."),
    ],
)
def test_a_range_that_is_never_routed(network: str, sentence: str) -> None:
    assert refusal_of_include(ip_network(network)) == sentence


def test_a_zone() -> None:
    assert refusal_of_zone("corp.example.") is None


def test_what_is_no_zone() -> None:
    sentence = refusal_of_zone("no zone")
    assert sentence is not None
    assert sentence.endswith("(wanted: a zone such as corp.example, which stands for all names below it)")
