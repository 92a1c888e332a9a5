"""What is abandoned before the first test, and the state that each of them compares."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.e2e.connect_undo.undoing import NAMESPACE, NO_ROUTES, OPTIONS, Abandoned, job_of
from tests.e2e.kit import processes
from tests.e2e.kit.faults import silent_server, stranger
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.sleeping import Sleeping
from tests.e2e.kit.workloads import until_usable
from tests.lab import Lab
from tests.lab.layout import NODE_IPV4
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession, connecting


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"))


@pytest.fixture(scope="package")
def namespace(lab: Lab) -> Iterator[None]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    until_usable(lab, NAMESPACE)
    yield
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="package")
def abandoned(lab: Lab, namespace: None) -> Iterator[Abandoned]:
    abandoned = Abandoned(lab)
    yield abandoned
    abandoned.stop()


@pytest.fixture(scope="package")
def killed_while_pending(lab: Lab, abandoned: Abandoned) -> Iterator[list[str]]:
    """Jobs whose pods never start, of a ktpy that was killed meanwhile."""
    with silent_server(lab.layout.node_netns_path) as registry:
        session = ConnectSession(lab, *OPTIONS, "--image", f"{NODE_IPV4}:{registry}/none:1")
        try:
            session.wait_for("  pod ")
            processes.kill(lab, "main")
        finally:
            session.close()
        processes.wait_none(lab)
        yield abandoned.all_now()


@pytest.fixture(scope="package")
def frozen(lab: Lab, abandoned: Abandoned, killed_while_pending: list[str]) -> Iterator[ConnectSession]:
    """A session of root that routes nothing, stopped by SIGSTOP: the other tests go on beside it."""
    with connecting(lab, *OPTIONS, *NO_ROUTES, "--no-reconnect", user="root", sudo=False) as session:
        path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job_of(session)}"
        wait_until(
            lambda: lab.api.get(path)["spec"]["activeDeadlineSeconds"] > 90, 60, "the Job's deadline to be put off"
        )
        main = processes.only(lab, "main", of_root=True)
        main.send(signal.SIGSTOP)
        abandoned.all_now()
        yield session
        if main.record.alive():  # stopped for ever, should its test not have been run
            main.kill()


@pytest.fixture(scope="package")
def killed_runs(lab: Lab, laptop: Laptop, abandoned: Abandoned, frozen: ConnectSession) -> dict[str, Sleeping]:
    """What is left of `ktpy run` when somebody is killed, by who that is; the laptop's network is as before."""
    before = laptop.network_state()
    with ExitStack() as stack:
        everybody = ("program", "helper", "main", "main helper program")
        runs = {victims: stack.enter_context(closing(Sleeping(lab, *OPTIONS))) for victims in everybody}
        for victims, run in runs.items():
            run.wait_ready()
            run.kill_only(*victims.split())
        for run in runs.values():
            run.wait_ended()
            run.wait_gone()
    abandoned.all_now()
    assert laptop.network_state() == before
    return runs


@pytest.fixture(scope="package", autouse=True)
def _abandon_first(killed_runs: dict[str, Sleeping]) -> None:
    """What takes minutes to vanish is abandoned before anything else."""


@pytest.fixture
def resolver(lab: Lab, request: pytest.FixtureRequest) -> str:
    """How the laptop resolves names: by a plain file, where a test does not say otherwise."""
    mode = str(getattr(request, "param", "file"))
    if lab.resolver_mode != mode:
        lab.set_resolver(mode)
    return mode


@pytest.fixture(scope="package", autouse=True)
def _resolver_as_it_was(lab: Lab) -> Iterator[None]:
    yield
    lab.set_resolver("file")


@pytest.fixture
def before(resolver: str, laptop: Laptop) -> str:
    return laptop.network_state()


@pytest.fixture
def starting(lab: Lab, namespace: None) -> Iterator[Callable[..., ConnectSession]]:
    """A factory of sessions that have just been started; each is ended after the test."""
    with ExitStack() as sessions:

        def start(*options: str) -> ConnectSession:
            session = ConnectSession(lab, *options)
            sessions.callback(session.close)
            return session

        yield start


@pytest.fixture
def detached(lab: Lab, laptop: Laptop, before: str, namespace: None) -> Iterator[str]:
    """A session in the background; yields the Job's name. `before` is from before it."""
    said = laptop.output("sudo", "ktpy", "connect", "--detach", *OPTIONS)
    assert "connected to " in said
    [session] = json.loads(laptop.output("ktpy", "status", "--output", "json"))["sessions"]
    yield str(session["pod"]).rpartition("-")[0]
    laptop.run(["ktpy", "quit"])


@pytest.fixture(scope="package")
def eve(lab: Lab) -> Iterator[str]:
    """A user who may do `sudo ktpy`, but has no sudo without a password for anything else."""
    ktpy = lab.exec(["sh", "-c", "command -v ktpy"], check=True).stdout.strip()
    with stranger(lab, sudo_commands=ktpy) as name:
        yield name


@pytest.fixture(scope="package")
def eves(lab: Lab) -> tuple[str, ...]:
    """The options with which eve connects."""
    return (*OPTIONS, "--kubeconfig", str(lab.kubeconfig("eve", ["system:masters"])))
