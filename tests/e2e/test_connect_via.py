"""`connect` past the API server where the pod's node can be reached, and through it where it cannot."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ktpy.cluster import rbac
from tests.e2e.kit.laptop import Laptop, assert_is_answered
from tests.e2e.kit.rights import granted
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.lab import Lab
from tests.lab.layout import NODE_IPV4
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession, connecting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

USER = "alice@example.org"
SOON_S, LOST_WITHIN_S = 60.0, 60.0
LARGE_BYTES = 10_000_000


@pytest.fixture(scope="module")
def kubeconfig(lab: Lab) -> Path:
    return lab.kubeconfig(USER)


@pytest.fixture(scope="module")
def session(lab: Lab, kubeconfig: Path, shop: Shop) -> Iterator[ConnectSession]:
    """With the rights that are documented for it."""
    with connected(lab, kubeconfig, "--via", "node") as session:
        yield session


@contextmanager
def connected(lab: Lab, kubeconfig: Path, *options: str) -> Iterator[ConnectSession]:
    options = ("--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig), *options)
    with granted(lab, rbac.manifest(NAMESPACE, USER, via_node=True)), connecting(lab, *options) as session:
        yield session
        session.quit()
    wait_until(lambda: not shadow_services(lab), SOON_S, "the Service to go with its Job")


def shadow_services(lab: Lab) -> list[str]:
    services = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/services")["items"]
    return [one["metadata"]["name"] for one in services if one["metadata"]["name"].startswith("ktpy-shadow-")]


def way(session: ConnectSession) -> int:
    """The port of the node by which the pod is reached.

    kube-proxy may know the node port later than the first attempt comes, and the next one is made after 5 s.
    """
    wait_until(lambda: session.status()["via"] is not None, LOST_WITHIN_S, "a way past the API server")
    host, _, port = str(session.status()["via"]).rpartition(":")
    assert host == NODE_IPV4
    return int(port)


def received_bytes(lab: Lab, port: int) -> int:
    """What this port has sent to the laptop over connections that stand (ss(8))."""
    listed = lab.exec(["ss", "-tinH", "dport", "=", f":{port}"], user="root", check=True).stdout
    return sum(map(int, re.findall(r"bytes_received:(\d+)", listed)))


@contextmanager
def closed(lab: Lab, port: int) -> Iterator[None]:
    """What is sent to this port of the node vanishes while the block runs."""
    rule = ("PREROUTING", "-t", "raw", "-p", "tcp", "--dport", str(port), "-j", "DROP")
    lab.node("iptables", "-w", "-I", *rule)
    try:
        yield
    finally:
        lab.node("iptables", "-w", "-D", *rule)


def test_a_way_that_is_found_is_taken_and_what_goes_over_it_outlives_it(
    lab: Lab, laptop: Laptop, kubeconfig: Path, shop: Shop
) -> None:
    """Before `session`: a user has one `connect` to a cluster."""
    with connected(lab, kubeconfig, "--allow-direct") as session:
        port = way(session)
        before = received_bytes(lab, port)
        with laptop.connection(shop.service("web").ipv4, 80, LOST_WITHIN_S) as kept:
            assert_is_answered(kept)
            assert received_bytes(lab, port) > before
            with closed(lab, port):
                assert_is_answered(kept)
                wait_until(lambda: session.status()["via"] is None, LOST_WITHIN_S, "the way to be lost")
                assert_is_answered(kept)
        assert session.status()["link"]["losses"] == 0


def test_what_programs_get_comes_past_the_api_server(lab: Lab, laptop: Laptop, session: ConnectSession) -> None:
    port = way(session)
    before = received_bytes(lab, port)
    download = laptop.output(
        "curl", "-sS", f"http://web/big?bytes={LARGE_BYTES}", "-o", "/dev/null", "-w", "%{size_download}"
    )
    assert int(download) == LARGE_BYTES
    assert received_bytes(lab, port) - before > LARGE_BYTES


def test_where_the_way_is_lost_all_goes_through_the_api_server_until_it_is_back(
    lab: Lab, laptop: Laptop, session: ConnectSession
) -> None:
    losses = session.status()["link"]["losses"]
    with closed(lab, way(session)):
        wait_until(lambda: session.status()["via"] is None, LOST_WITHIN_S, "the way to be lost")
        assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
        session.wait_for("New connections go through the API server, and ktpy keeps trying")
        assert session.status()["link"]["losses"] == losses
    wait_until(lambda: session.status()["via"] is not None, LOST_WITHIN_S, "the way to be back")
    assert "web greets you" in laptop.output("curl", "-sS", "http://web/")


def test_nobody_is_let_in_there_without_the_sessions_key(lab: Lab, session: ConnectSession) -> None:
    target = ("-p", str(way(session)), f"ktpy@{NODE_IPV4}")
    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes")
    refused = lab.exec(["ssh", *options, *target, "session"], user="dev")
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr
