"""`ktpy forward`, as a user without root and with the documented rights."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ktpy.cluster import rbac
from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.rights import granted
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.intercept import ktpys_objects

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

USER = "carol@example.org"
ROLLOUT_S, ANSWER_S = 240.0, 30.0
Local = dict[tuple[str, str], int]
"""The laptop's ports, by the port and the protocol in the cluster."""


@pytest.fixture(scope="module")
def kubeconfig(lab: Lab) -> Iterator[Path]:
    with granted(lab, rbac.manifest(NAMESPACE, USER, whole_cluster=False, run=True)):
        yield lab.kubeconfig(USER)


@pytest.fixture
def command(kubeconfig: Path, shop: Shop) -> list[str]:
    return ["ktpy", "forward", "--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig)]


@contextmanager
def forwarding(lab: Lab, *command: str) -> Iterator[Local]:
    session = Foreground(lab, [*command, "--output", "json"])
    try:
        session.wait_for('"kind": "ready"')
        events: list[dict[str, Any]] = [json.loads(line) for line in session.output.splitlines()]
        [ready] = [event for event in events if event["kind"] == "ready"]
        yield {(str(one["port"]), one["protocol"]): one["local_port"] for one in ready["status"]["forwards"]}
    finally:
        os.killpg(session.process.pid, signal.SIGINT)
        code = session.wait_ended()
    assert code == 0, session.output


def greeting(laptop: Laptop, port: int) -> str:
    return laptop.output("curl", "-sS", f"http://127.0.0.1:{port}/")


def test_a_service_by_tcp_and_udp(lab: Lab, laptop: Laptop, command: list[str]) -> None:
    with forwarding(lab, *command, "echo") as local:
        assert set(local) == {("7", "TCP"), ("7", "UDP"), ("8", "TCP")}
        assert local["7", "TCP"] == local["7", "UDP"] == 8007
        for kind, protocol in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")):
            with laptop.open_socket(socket.AF_INET, kind) as client:
                client.settimeout(ANSWER_S)
                client.connect(("127.0.0.1", local["7", protocol]))
                for word in (b"hello", b"again"):
                    client.send(word)
                    assert client.recv(100) == word


def test_a_workload_whose_pods_are_replaced_between_two_requests(
    lab: Lab, laptop: Laptop, shop: Shop, command: list[str]
) -> None:
    with forwarding(lab, *command, "deploy/catalog", "3000:8080") as local:
        assert local == {("8080", "TCP"): 3000}
        assert "catalog" in greeting(laptop, 3000)
        before = set(shop.pods("catalog"))
        lab.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/catalog")
        lab.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/catalog", timeout_s=ROLLOUT_S)
        wait_until(lambda: before.isdisjoint(shop.pods("catalog")), ROLLOUT_S, "the pods before to end")
        assert "catalog" in greeting(laptop, 3000)


def test_a_command_finds_every_service_by_its_variables(lab: Lab, command: list[str]) -> None:
    script = "curl -sS http://$WEB_SERVICE_HOST:$WEB_SERVICE_PORT/ http://$STORE_SERVICE_HOST:$STORE_SERVICE_PORT_HTTP/"
    done = lab.exec([*command, "--all", "--", "sh", "-c", script], user="dev")
    assert done.returncode == 0, done.stderr
    assert "web greets you" in done.stdout
    assert "store" in done.stdout


def test_a_session_with_a_limit_of_time_ends_by_itself(lab: Lab, command: list[str]) -> None:
    done = lab.exec([*command, "web", "--for", "8s"], user="dev", timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert "8s of --for are over. Disconnected; everything is undone." in done.stdout
    assert [one for one in ktpys_objects(lab, NAMESPACE) if not one.startswith("pod/")] == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["absent"], 50, "There is no service absent"),
        (["web", "81"], 53, "Service web has no port 81"),
        (["deploy/web", "http"], 52, "http is no number"),
        (["web", "3999:80"], 38, "Port 3999 of 127.0.0.1 cannot be had"),
        (["pod/absent", "80"], 50, "There is no pod/absent"),
    ],
)
def test_what_cannot_be_forwarded_is_told_before_anything_is_made(
    lab: Lab, laptop: Laptop, command: list[str], arguments: list[str], exit_code: int, words: str
) -> None:
    made = ktpys_objects(lab, NAMESPACE)
    with laptop.open_socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 3999))
        taken.listen()
        failed = attempt(lab, *arguments, command=command)
    assert (failed.exit_code, words in failed.message) == (exit_code, True), failed.message
    assert set(ktpys_objects(lab, NAMESPACE)) <= set(made)
