"""The pod is deleted, or its sshd killed, under a session that is not to reconnect."""

import pytest

from tests.e2e.connect_undo.undoing import NAMESPACE, OPTIONS, exists, job_of
from tests.e2e.kit.faults import kill_in_pod
from tests.e2e.kit.laptop import Laptop
from tests.lab import Lab
from tests.lab.sessions.connect import Connecting


def test_pod_deleted(before: str, lab: Lab, laptop: Laptop, connect: Connecting) -> None:
    session = connect(*OPTIONS, "--no-reconnect")
    job = job_of(session)
    lab.kubectl("-n", NAMESPACE, "delete", "pod", "-l", f"job-name={job}", "--wait=false")
    assert session.wait_ended() == 25, session.output
    assert "was deleted" in session.output
    assert laptop.network_state() == before
    assert not exists(lab, job)


@pytest.mark.parametrize(("title", "exit_codes"), [("sshd-session: ktpy", {40}), ("sshd: /usr/sbin/sshd", {25, 40})])
def test_sshd_killed_in_the_pod(
    title: str, exit_codes: set[int], before: str, lab: Lab, laptop: Laptop, connect: Connecting
) -> None:
    session = connect(*OPTIONS, "--no-reconnect")
    job = job_of(session)
    kill_in_pod(lab, str(session.status()["pod"]), title)
    assert session.wait_ended() in exit_codes, session.output
    assert laptop.network_state() == before
    assert not exists(lab, job)
