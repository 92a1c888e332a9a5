"""UDP and ping as from a pod: what real programs send through `ktpy connect`, and what they are told when it fails."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.e2e.kit.faults import pod_processes
from tests.e2e.kit.laptop import Laptop, is_echoed
from tests.e2e.kit.pod_program import serving
from tests.e2e.kit.shop import Addresses, Shop
from tests.lab import Lab
from tests.lab.layout import REPOSITORY
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession

ECHO_PORT, HTTP3_PORT = 7, 8443
FAMILIES = ["ipv4", "ipv6"]
TIMEOUT_S = 30.0


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
        "dig", "+notcp", "+short", "+tries=1", "+time=20", f"@{cluster_dns[family]}", "web.shop.svc.cluster.local", "A"
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
    output = laptop.output("ping", "-n", "-c", "5", "-i", "0.2", "-W", "20", getattr(pod, family))
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


# --- what others wrote


def losses(connected: ConnectSession) -> tuple[int, ...]:
    counters = connected.status()["counters"]
    return (counters["packets"]["lost_packets"], *(counters["datagrams"][name] for name in ("lost", "lost_in_pod")))


def overflows(lab: Lab, pod: Addresses) -> int:
    """Datagrams that full sockets of the pod, or of the laptop, or the laptop's full TUN have turned away."""
    link = lab.exec(["ip", "-json", "-statistics", "link", "show", "ktpy0"], check=True).stdout
    dropped = int(json.loads(link)[0]["stats64"]["tx"]["dropped"])
    places = lab.pod_netns(pod.ipv4), lab.layout.laptop_netns_path
    return dropped + sum(map(receive_overflows, places))


def receive_overflows(where: Path) -> int:
    shown = subprocess.run(
        ["nsenter", f"--net={where}", "nstat", "-asz", "*RcvbufErrors"], capture_output=True, text=True
    )
    return sum(int(line.split()[1]) for line in shown.stdout.splitlines() if line.startswith("Udp"))


@pytest.fixture
def echo_pod(shop: Shop) -> Addresses:
    return next(iter(shop.pods("echo").values()))


@pytest.mark.parametrize("family", FAMILIES)
def test_http3(
    connected: ConnectSession, laptop: Laptop, lab: Lab, echo_pod: Addresses, tmp_path: Path, family: str
) -> None:
    size = 2_000_000
    program = [sys.executable, "-m", "tests.e2e.kit.http3_program"]
    with serving(lab.pod_netns(echo_pod.ipv4), *program, "serve", str(HTTP3_PORT), str(tmp_path), until="serving"):
        where = [getattr(echo_pod, family), str(HTTP3_PORT), (tmp_path / "cert.pem").read_text(), str(size)]
        output = laptop.output("env", f"PYTHONPATH={REPOSITORY}", *program, "get", *where)
    assert json.loads(output) == {"status": "200", "bytes": size, "sha256": hashlib.sha256(b"x" * size).hexdigest()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("direction", [[], ["--reverse"]], ids=["up", "down"])
def test_iperf3(
    connected: ConnectSession, laptop: Laptop, lab: Lab, echo_pod: Addresses, family: str, direction: list[str]
) -> None:
    """Some 500 datagrams a second: what a video call sends. ktpy loses none; iperf3's own sockets hold 92 of them."""
    before, overflown = losses(connected), overflows(lab, echo_pod)
    with serving(lab.pod_netns(echo_pod.ipv4), "iperf3", "-s", "-1", "--forceflush", until="listening"):
        options = ["-u", "-b", "5M", "-l", "1200", "-t", "2", "--json", *direction]
        found = json.loads(laptop.output("iperf3", "-c", getattr(echo_pod, family), *options))["end"]["sum"]
    assert found["packets"] > 400
    assert losses(connected) == before
    overflown = overflows(lab, echo_pod) - overflown
    assert found["lost_packets"] - overflown <= found["packets"] / 100


# --- ping, as from a pod


def ping(laptop: Laptop, host: str) -> str:
    return laptop.run(["ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", host]).stdout


def ping_in_pod(lab: Lab, pod: Addresses, host: str) -> str:
    command = ["nsenter", f"--net={lab.pod_netns(pod.ipv4)}", "ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", host]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def outcome(output: str) -> list[str]:
    """What ping tells of the host, without times and without who says so."""
    said = re.findall(r"Destination \w+ (?:Unreachable|unreachable)[^\n]*|(?:no answer yet)", output)
    return [*said, *re.findall(r"\d+ received", output)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("which", ["service", "nobody"])
def test_ping_is_told_the_same_as_in_a_pod(
    connected: ConnectSession, laptop: Laptop, lab: Lab, shop: Shop, echo_pod: Addresses, family: str, which: str
) -> None:
    if which == "service":
        host = getattr(shop.service("web"), family)
    else:  # the last address of the pod's network, which no pod has
        network = ip_network(f"{getattr(echo_pod, family)}/{24 if family == 'ipv4' else 64}", strict=False)
        host = str(network[-2])
    assert outcome(ping(laptop, host)) == outcome(ping_in_pod(lab, echo_pod, host))


# --- how it is told, and how it ends


def test_the_status_tells(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    before = connected.status()["counters"]["datagrams"]
    with udp_socket(laptop, shop.service("echo").ipv4, ECHO_PORT) as program:
        program.send(b"hello")
        program.recv(9)
    status = connected.status()
    after = status["counters"]["datagrams"]
    assert (after["sent"] - before["sent"], after["received"] - before["received"]) == (1, 1)
    assert status["datagram_flows"] > 0
    assert "  udp " in laptop.output("ktpy", "status")


def test_losing_the_connection_for_datagrams_alone(
    connected: ConnectSession, laptop: Laptop, lab: Lab, shop: Shop
) -> None:
    """TCP goes on, and datagrams come back."""
    before = connected.status()
    with (
        laptop.connection(shop.service("echo").ipv4, ECHO_PORT) as flow,
        udp_socket(laptop, shop.service("echo").ipv4, ECHO_PORT) as program,
    ):
        program.send(b"before")
        assert program.recv(9) == b"before"
        for pid in pod_processes(lab, str(before["pod"]), "/usr/bin/python3"):
            if b"SSH_ORIGINAL_COMMAND=ktpy-agent datagrams" in Path(f"/proc/{pid}/environ").read_bytes():
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_echoed(program), TIMEOUT_S, "datagrams to come back")
        flow.sendall(b"still there")
        assert flow.recv(64) == b"still there"
    assert connected.status()["link"]["losses"] == before["link"]["losses"]
