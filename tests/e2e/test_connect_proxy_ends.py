"""How sessions of `ktpy connect --mode proxy` end: with their command, by a shell's `ktpy quit`, killed."""

import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.test_connect_proxy import GREETING, OPTIONS, before, kubeconfig, port_of
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession
from tests.lab.sessions.intercept import ktpys_objects
from tests.lab.sessions.request_log import SOON_S

__all__ = ["before", "kubeconfig"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


@pytest.fixture
def command(lab: Lab, laptop: Laptop, kubeconfig: Path, before: str) -> Iterator[list[str]]:
    yield ["ktpy", "connect", *OPTIONS, "--kubeconfig", str(kubeconfig)]
    assert laptop.network_state() == before
    wait_until(lambda: ktpys_objects(lab, NAMESPACE) == [], SOON_S, "ktpy's pod to be gone")
    jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    wait_until(lambda: lab.api.get(jobs)["items"] == [], SOON_S, "its Job to be gone")


@pytest.mark.parametrize("code", [0, 7])
def test_a_command_ends_with_its_exit_code(laptop: Laptop, command: list[str], code: int) -> None:
    done = laptop.run([*command, "--", "sh", "-c", f"curl -sS http://web/; exit {code}"])
    assert done.returncode == code, done.stderr
    assert GREETING in done.stdout
    assert "connected to" in done.stderr


def test_a_shell_takes_the_environment(laptop: Laptop, command: list[str]) -> None:
    script = f'eval "$({shlex.join(command)} --detach --output env)" && curl -sS http://web/ && ktpy quit'
    done = laptop.run(["sh", "-c", script])
    assert done.returncode == 0, done.stderr
    assert GREETING in done.stdout
    refused = laptop.run(["sh", "-c", f'eval "$({shlex.join(command)}x --detach --output env)"; echo "[$HTTP_PROXY]"'])
    assert refused.stdout == "[]\n"


def test_killed_it_leaves_nothing_on_the_laptop(lab: Lab, laptop: Laptop, command: list[str], before: str) -> None:
    session = ConnectSession(lab, *command[2:], sudo=False)
    session.wait_ready()
    port = port_of(session)
    os.kill(session.process.pid, signal.SIGKILL)
    session.wait_ended()
    assert laptop.network_state() == before
    assert laptop.run(["curl", "-sS", "--proxy", f"127.0.0.1:{port}", "http://web/"]).returncode == 7
    assert "Not connected" in laptop.run(["ktpy", "status"]).stdout
    lab.kubectl("-n", NAMESPACE, "delete", "jobs", "--all", "--cascade=foreground")  # which would remove itself
