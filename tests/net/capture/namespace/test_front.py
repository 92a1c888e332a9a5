"""What a program sees of its network, and what nobody else sees."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.capture.namespace.conftest import DEV, Box, variables
from tests.net.capture.namespace.stage import HELLO

PROBE = str(Path(__file__).with_name("probe.py"))
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")


@pytest.fixture(scope="module", params=["a user", "root", "sudo"])
def seen(box: Box, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What the probe saw, with servers of the laptop's own on loopback and on its network."""
    before = box.state()
    servers = subprocess.Popen([*box.prefix, sys.executable, PROBE, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert servers.stdout is not None
        assert servers.stdout.readline() == "ready\n"
        done = box.stage(sys.executable, PROBE, "look", by=request.param)
        assert done.returncode == 0, done.stderr
        user = 0 if request.param == "root" else DEV
        yield {**json.loads(done.stdout), "user": user, "is unchanged": box.state() == before}
    finally:
        servers.kill()
        servers.communicate()


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("service", "web greets you"),
        ("service by full name", "web greets you"),
        ("closed port of a service", "ConnectionRefusedError"),
        ("outside", "outside 192.168.77.2"),
        ("closed port outside", "ConnectionRefusedError"),
        ("a range of both", "ConnectionRefusedError"),
        ("host", "loopback 127.0.0.1"),
        ("host by DNS", "198.19.255.254"),
        ("loopback", "ConnectionRefusedError"),
        ("datagram outside", "outside 192.168.77.2"),
        ("datagram to a closed port", "ConnectionRefusedError"),
        ("datagram to host", "loopback 127.0.0.1"),
        ("port 80", True),
        ("files", 1000),
        ("descriptors", [0, 1, 2]),
        ("is unchanged", True),
    ],
)
def test_what_a_program_meets(seen: dict[str, Any], what: str, answer: object) -> None:
    assert seen[what] == answer


ASKS_TWICE = """
import socket, sys, time
from pathlib import Path

def ask():
    with socket.create_connection(("web", 80), 20) as connection:
        return connection.makefile().read().strip()

own, other = (Path("/tmp", f"ktpy-{name}") for name in sys.argv[1:])
answers = [ask()]
own.touch()
while not other.exists():
    time.sleep(0.01)
print([*answers, ask()])
"""


def test_two_clusters_with_the_same_addresses_and_names_at_once(box: Box) -> None:
    """Each program has its own, while the other runs, too."""

    def start(cluster: str, other: str) -> subprocess.Popen[str]:
        command = ["env", f"KTPY_TEST_CLUSTER={cluster}", *box.command("python3", "-c", ASKS_TWICE, cluster, other)]
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    programs = {"east": start("east", "west"), "west": start("west", "east")}
    try:
        told = {name: program.communicate(timeout=60)[0] for name, program in programs.items()}
    finally:
        for program in programs.values():
            program.kill()
    assert told == {name: f"{[f'{name} greets you'] * 2}\n" for name in programs}


def test_it_is_its_user_and_has_no_capability(seen: dict[str, Any]) -> None:
    assert (seen["uid"], seen["gid"]) == (seen["user"], seen["user"])
    assert {variables(seen["status"])[name] for name in CAPABILITIES} == {"0" * 16}


def test_its_resolver_is_ktpy_alone(seen: dict[str, Any]) -> None:
    lines = seen["resolv.conf"].splitlines()
    assert [line for line in lines if line.startswith("nameserver")] == ["nameserver 127.18.0.53"]
    [search] = [line.split() for line in lines if line.startswith("search")]
    assert [domain.lower() for domain in search[1:]] == [*HELLO.search, "corp.example"]
