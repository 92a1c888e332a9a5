"""What is read of the kernel about processes."""

import os
from pathlib import Path

import pytest

from tests.soak.processes import Process, all_processes, figures, with_descendants

NO_PID = 1 << 30


def process(pid: int, parent: int = 1, *words: str) -> Process:
    return Process(pid, parent, words or ("sleep",), "")


def test_a_process_is_counted_with_its_children_and_theirs() -> None:
    everything = [process(2), process(3, 2), process(4, 3), process(5)]
    assert with_descendants(2, everything) == [2, 3, 4]


@pytest.mark.parametrize(
    ("words", "program"),
    [
        (("/usr/sbin/haproxy", "-W", "-f", "x"), "haproxy"),
        (("sshd: ktpy@notty",), "sshd"),
        (("/usr/bin/python3", "-IS", "/opt/agent/ktpy-agent", "route", "s"), "ktpy-agent route"),
        (("python3", "/code/server.py", "http"), "python3"),
    ],
)
def test_processes_of_a_pod_are_known_by_their_program(words: tuple[str, ...], program: str) -> None:
    assert process(2, 1, *words).program == program


def test_this_process_is_among_all_and_has_figures() -> None:
    [this] = [one for one in all_processes() if one.pid == os.getpid()]
    assert this.parent == os.getppid()
    before = figures([this.pid])["descriptors"]
    with Path(os.devnull).open():
        found = figures([this.pid])
    assert found["descriptors"] == before + 1
    assert (found["processes"], found["threads"] >= 1) == (1, True)
    assert 0 < found["anonymous_mb"] < found["rss_mb"]
    assert found["pss_mb"] <= found["rss_mb"]


def test_what_has_ended_meanwhile_counts_for_nothing() -> None:
    assert set(figures([NO_PID]).values()) == {0.0}
