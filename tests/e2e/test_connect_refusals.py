"""What does not answer in the cluster does not answer on the laptop either, and says so as it would there."""

import errno
import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.kit.laptop import Laptop, assert_is_answered
from tests.e2e.kit.shop import Shop
from tests.lab import Lab
from tests.lab.layout import API_PORT, NODE_IPV4
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession

REFUSED_WITHIN_S = 0.9
"""A SYN that is not answered is sent again after 1 s."""
UNREACHABLE_WITHIN_S = 9.0
"""Of which 3 s are the node's, which asks thrice who has the address (ARP, RFC 4861); silence would take 10 s."""
CLOSED_PORT = 81
ABSENT_PODS = ["10.244.0.250", "fd44::fa"]
FAMILIES = ["ipv4", "ipv6"]


def failure(laptop: Laptop, address: str, port: int) -> tuple[str, float]:
    """How connecting fails, and after how many seconds."""
    started_s = time.monotonic()
    try:
        with laptop.connection(address, port) as connection:
            connection.send(b"")  # Linux may tell of an ICMP error only then: see tests/net/capture/tun/test_pump.py
            return "connected", time.monotonic() - started_s
    except TimeoutError:
        return "silence", time.monotonic() - started_s
    except OSError as error:
        return errno.errorcode[error.errno or 0], time.monotonic() - started_s


def quickest_failure(laptop: Laptop, address: str, port: int) -> tuple[str, float]:
    """Of three in a row that all fail alike: others work on this machine, too."""
    failures = [failure(laptop, address, port) for _ in range(3)]
    [how] = {how for how, _ in failures}
    return how, min(after_s for _, after_s in failures)


@pytest.fixture(scope="module")
def idle_service(lab: Lab) -> Iterator[None]:
    """A service that selects no pod."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "idle", "namespace": "shop"},
        "spec": {
            "ipFamilyPolicy": "PreferDualStack",
            "selector": {"app": "nobody"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(service))

    def node_refuses() -> bool:
        return all("shop/idle has no endpoints" in lab.node(save) for save in ("iptables-save", "ip6tables-save"))

    wait_until(node_refuses, 60, "kube-proxy to know of the service")
    yield
    lab.kubectl("-n", "shop", "delete", "service", "idle", "--wait=false")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_closed_port_of_a_pod_is_refused(connected: ConnectSession, laptop: Laptop, shop: Shop, family: str) -> None:
    how, after_s = quickest_failure(laptop, getattr(shop.pod("store-0"), family), CLOSED_PORT)
    assert how == "ECONNREFUSED"
    assert after_s < REFUSED_WITHIN_S


def test_programs_see_the_refusal(connected: ConnectSession, laptop: Laptop) -> None:
    done = laptop.run(["curl", "-sS", f"http://store-0.store:{CLOSED_PORT}/"])
    assert done.returncode == 7
    assert laptop.run(["nc", "-z", "-w", "2", "store-0.store", str(CLOSED_PORT)]).returncode == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_without_endpoints_is_refused(
    connected: ConnectSession, idle_service: None, laptop: Laptop, shop: Shop, family: str
) -> None:
    """Over IPv6 a pod's own kernel takes the node's ICMP for an answer to its second SYN only, a second later."""
    how, after_s = quickest_failure(laptop, getattr(shop.service("idle"), family), 80)
    assert how == "ECONNREFUSED"
    assert after_s < REFUSED_WITHIN_S + (1.0 if family == "ipv6" else 0.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_that_a_service_does_not_have_is_not_open(
    connected: ConnectSession, laptop: Laptop, shop: Shop, family: str
) -> None:
    """Which way it fails is kube-proxy's choice: its nftables mode refuses, its iptables mode lets the packet go."""
    how, after_s = failure(laptop, getattr(shop.service("web"), family), CLOSED_PORT)
    assert how in ("ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH")
    assert after_s < UNREACHABLE_WITHIN_S


@pytest.mark.parametrize("address", ABSENT_PODS)
def test_an_absent_pod_is_unreachable(connected: ConnectSession, laptop: Laptop, address: str) -> None:
    how, after_s = failure(laptop, address, 8080)
    assert how == "EHOSTUNREACH"
    assert after_s < UNREACHABLE_WITHIN_S


def test_an_absent_pod_holds_nobody_else_up(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    web = shop.service("web").ipv4
    with laptop.open_socket(socket.AF_INET, socket.SOCK_STREAM) as waiting:
        waiting.setblocking(False)
        assert waiting.connect_ex((ABSENT_PODS[0], 8080)) == errno.EINPROGRESS
        with laptop.connection(web, 80) as other:
            assert_is_answered(other)
        assert waiting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0  # and it still waits


def test_addresses_that_are_not_the_clusters_are_left_alone(connected: ConnectSession, laptop: Laptop) -> None:
    before = connected.status()["bytes"]
    assert "dev eth0" in laptop.output("ip", "route", "get", NODE_IPV4)
    assert laptop.output("curl", "-sSk", f"https://{NODE_IPV4}:{API_PORT}/livez") == "ok"
    assert failure(laptop, "203.0.113.7", 80)[0] == "ENETUNREACH"
    assert failure(laptop, NODE_IPV4, CLOSED_PORT)[0] == "ECONNREFUSED"
    assert connected.status()["bytes"] == before
