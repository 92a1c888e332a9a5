"""UDP and ping as from a pod: what real programs send through `ktpy connect`, and what they are told when it fails."""

import re
import socket
import time

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import Shop
from tests.lab import Lab
from tests.lab.sessions.connect import ConnectSession

ECHO_PORT = 7
FAMILIES = ["ipv4", "ipv6"]
TIMEOUT_S = 5.0


@pytest.fixture(scope="module")
def cluster_dns(lab: Lab) -> dict[str, str]:
    """The Service of the cluster's DNS, which has IPv4 only, and a pod of it."""
    find = ["-n", "kube-system", "get", "-o"]
    service = lab.kubectl(*find, "jsonpath={.spec.clusterIP}", "service", "kube-dns")
    pod = lab.kubectl(*find, "jsonpath={.items[0].status.podIPs[1].ip}", "pods", "-l", "k8s-app=kube-dns")
    return {"ipv4": service, "ipv6": pod}


def udp_socket(laptop: Laptop, address: str, port: int) -> socket.socket:
    made = laptop.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(TIMEOUT_S)
    made.connect((address, port))
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_coredns_is_asked_directly(
    connected: ConnectSession, laptop: Laptop, shop: Shop, cluster_dns: dict[str, str], family: str
) -> None:
    output = laptop.output(
        "dig", "+notcp", "+short", "+tries=1", f"@{cluster_dns[family]}", "web.shop.svc.cluster.local", "A"
    )
    assert output.split() == [shop.service("web").ipv4]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [0, 1, 1200, 9000, 65000])
def test_echo(connected: ConnectSession, laptop: Laptop, shop: Shop, family: str, size: int) -> None:
    with udp_socket(laptop, getattr(shop.service("echo"), family), ECHO_PORT) as program:
        program.send(b"x" * size)
        assert program.recv(65535) == b"x" * size


@pytest.mark.parametrize("family", FAMILIES)
def test_a_closed_port_is_refused(connected: ConnectSession, laptop: Laptop, shop: Shop, family: str) -> None:
    pod = next(iter(shop.pods("echo").values()))
    with udp_socket(laptop, getattr(pod, family), 9) as program:
        program.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            program.recv(9)


@pytest.mark.parametrize("family", FAMILIES)
def test_ping_of_a_pod(connected: ConnectSession, laptop: Laptop, shop: Shop, family: str) -> None:
    pod = next(iter(shop.pods("echo").values()))
    output = laptop.output("ping", "-n", "-c", "5", "-i", "0.2", "-W", "2", getattr(pod, family))
    assert "5 packets transmitted, 5 received, 0% packet loss" in output
    assert len(re.findall(r"icmp_seq=\d+ ttl=\d+ time=[\d.]+ ms", output)) == 5


def test_a_thousand_datagrams_a_second(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    """As games send them: none is lost, on a machine that has the time for it."""
    with udp_socket(laptop, shop.service("echo").ipv4, ECHO_PORT) as program:
        got: set[bytes] = set()
        began_s = time.monotonic()
        for number in range(3000):
            program.send(number.to_bytes(4, "big") * 16)
            while number - len(got) > 50:
                got.add(program.recv(100))
            time.sleep(max(0.0, began_s + number / 1000 - time.monotonic()))
        while len(got) < 3000:
            got.add(program.recv(100))
