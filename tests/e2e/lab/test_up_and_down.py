"""A lab comes up and goes down, whatever happened meanwhile, and leaves nothing."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.lab.labs import NAME, OTHER_NAME, bring_down, leftovers, run_verb
from tests.lab import Lab, laptop, node
from tests.lab.layout import Layout
from tests.lab.processes import ProcessRecord, wait_until


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = node.record(lab.layout)
    Lab.ensure_up(NAME)
    assert node.record(lab.layout) == before


def test_status_says_what_runs(lab: Lab) -> None:
    status = lab.status()
    assert (status["state"], status["resolver"], status["round_trip_ms"]) == ("up", "file", 0)


def test_down_of_a_lab_that_never_was_is_no_error(other: Lab) -> None:
    bring_down(OTHER_NAME)
    assert other.status()["state"] == "down"


def test_a_name_that_is_none_is_refused() -> None:
    process = run_verb("../up", "status")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no name for a lab" in errors


@pytest.mark.timeout(900)
def test_a_second_lab_beside_the_first(lab: Lab, other: Lab) -> None:
    """Killed while it starts, then started twice at once: one makes it afresh, one waits for it.

    Then somebody kills the making of further laptops, its node dies, and the first does not notice. What is left of it
    all, containers that run too, goes with `down`.
    """
    killed = run_verb(OTHER_NAME, "up")
    wait_until(lambda: node_started(other), 180, "the node to start")
    killed.kill()
    killed.communicate()
    starts = [run_verb(OTHER_NAME, "up") for _ in range(2)]
    assert [process.communicate(timeout=300) and process.returncode for process in starts] == [0, 0]
    assert other.status()["state"] == "up"
    lab.kubectl("create", "namespace", "only-here")
    assert lab.api.get("/api/v1/namespaces/only-here") is not None
    assert other.api.is_ready()
    assert other.api.get("/api/v1/namespaces/only-here") is None

    kill_the_making_of_laptops()
    record = node.record(other.layout)
    assert record is not None
    record.kill()
    assert other.status()["state"] == "broken"
    assert lab.api.is_ready()
    bring_down(OTHER_NAME)
    assert leftovers(other) == []


def kill_the_making_of_laptops() -> None:
    """Twice: once with one that has a process to hold it, then with one that has its network only."""
    for made in (laptop.record_file(Layout(OTHER_NAME, 3)), Layout(OTHER_NAME, 5).laptop_netns_path):
        making = run_verb(OTHER_NAME, "laptops", "20")
        wait_until(made.exists, 120, made.name)
        making.kill()
        making.communicate()


def state_made(lab: Lab) -> bool:
    return lab.layout.cgroups_file.exists()


def network_made(lab: Lab) -> bool:
    return lab.layout.laptop_netns_path.exists()


def node_started(lab: Lab) -> bool:
    return node.record(lab.layout) is not None


def laptop_started(lab: Lab) -> bool:
    """It needs nobody any more: who made it has become what only holds its namespaces."""
    holder = ProcessRecord.read(laptop.record_file(lab.layout))
    return holder is not None and Path(f"/proc/{holder.pid}/comm").read_text() == "pause\n"


@pytest.mark.parametrize("moment", [state_made, network_made, node_started])
def test_after_up_was_killed_down_leaves_nothing(other: Lab, moment: Callable[[Lab], bool]) -> None:
    up = run_verb(OTHER_NAME, "up")
    wait_until(lambda: moment(other), 180, moment.__name__)
    up.kill()
    up.communicate()
    bring_down(OTHER_NAME)
    assert leftovers(other) == []


def test_down_takes_what_exec_left_running(other: Lab) -> None:
    """Of an `up` that was killed; and a stand-in for a lab whose node failed: the laptop is there, and in use."""
    up = run_verb(OTHER_NAME, "up")
    wait_until(lambda: laptop_started(other), 180, "the laptop to start")
    up.kill()
    up.communicate()
    sleeper = other.popen(["sh", "-c", "echo started; exec sleep 600"])
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "started\n"
    bring_down(OTHER_NAME)
    assert sleeper.wait(timeout=60) == -signal.SIGKILL
    sleeper.communicate()
    assert leftovers(other) == []
