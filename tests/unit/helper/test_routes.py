"""Which networks count as local. Links and routes for real are in tests/net."""

from ipaddress import ip_network
from typing import Any

import pytest
from pyroute2 import NetlinkError

from ktpy.helper import routes


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("192.168.1.0/24", True),
        ("10.0.0.0/8", True),
        ("64.0.0.0/2", True),
        ("fd00::/8", True),
        ("0.0.0.0/0", False),
        ("128.0.0.0/1", False),
        ("2000::/3", False),
        ("127.0.0.0/8", False),
        ("169.254.0.0/16", False),
        ("fe80::/64", False),
        ("ff00::/8", False),
    ],
)
def test_default_routes_loopback_and_link_local_are_no_local_networks(network: str, expected: bool) -> None:
    assert routes._counts_as_local(ip_network(network)) is expected


class Message(dict[str, Any]):
    def get_attr(self, name: str) -> Any:
        return self.get(name)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ({"RTA_OIF": 3}, [3]),
        ({"RTA_MULTIPATH": [{"oif": 3}, {"oif": 5}]}, [3, 5]),
        ({}, []),
    ],
)
def test_the_interfaces_of_a_route(route: dict[str, Any], expected: list[int]) -> None:
    assert routes._outgoing(Message(route)) == expected


def test_what_is_gone_already_is_removed() -> None:
    def gone(**_: object) -> None:
        raise NetlinkError(3, "No such process")

    routes._ignoring_absence(gone, index=1)


def test_another_failure_to_remove_is_raised() -> None:
    def refuse(**_: object) -> None:
        raise NetlinkError(1, "Operation not permitted")

    with pytest.raises(NetlinkError):
        routes._ignoring_absence(refuse, index=1)


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (17, "There is a route to 10.96.0.0/16 already; ktpy left it alone and added none.", "--exclude 10.96.0.0/16"),
        (22, "The kernel refuses a route to 10.96.0.0/16: ", ""),
    ],
)
def test_a_refused_route(code: int, message: str, hint: str) -> None:
    failed = routes._route_refused(ip_network("10.96.0.0/16"), NetlinkError(code, "no"))
    assert failed.message.startswith(message)
    assert hint in (failed.hint or "")
