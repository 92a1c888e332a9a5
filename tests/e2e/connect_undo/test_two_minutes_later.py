"""What became of all that was abandoned. The name of this module makes it the last one."""

import signal

from tests.e2e.connect_undo.undoing import CLUSTER_CLEAN_S, POD_END_S, Abandoned
from tests.e2e.kit import processes
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession


def test_the_frozen_session_was_ended_in_the_cluster(
    frozen: ConnectSession, lab: Lab, abandoned: Abandoned, before: str
) -> None:
    """Thawed, it finds its link gone, and undoes what it did."""
    lifetimes_s = abandoned.lifetimes_s()
    assert max(lifetimes_s.values()) < CLUSTER_CLEAN_S, lifetimes_s
    main = processes.only(lab, "main", of_root=True)
    main.send(signal.SIGCONT)
    assert frozen.wait_ended() in (25, 40), frozen.output
    wait_until(lambda: not processes.of(lab, of_root=True), processes.GONE_TIMEOUT_S, "its helper to end")


def test_nothing_is_left_in_the_cluster(killed_while_pending: list[str], lab: Lab, abandoned: Abandoned) -> None:
    lifetimes_s = abandoned.lifetimes_s()
    assert set(killed_while_pending) <= set(lifetimes_s)
    assert max(lifetimes_s.values()) < CLUSTER_CLEAN_S, lifetimes_s
    kinds = "jobs,pods,secrets,configmaps,services,leases,roles,rolebindings"
    wait_until(lambda: not all_of_ktpy(lab, kinds), POD_END_S, "pods of sessions that have just ended to go")


def all_of_ktpy(lab: Lab, kinds: str) -> str:
    return lab.kubectl("get", kinds, "-A", "-o", "name", "-l", "app.kubernetes.io/managed-by=ktpy")
