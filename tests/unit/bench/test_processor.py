"""Processor time, as /proc has it."""

import os

import pytest

from tests.bench.errors import BenchError
from tests.bench.processor import AGENT, HELPER, part_of, per_gigabyte, seconds_of, spent

STAT = "4711 (we (ird) name) S 1 4711 4711 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 5 0 0"


def test_user_and_system_time_are_counted_in_ticks() -> None:
    assert seconds_of(STAT) == pytest.approx(300 / os.sysconf("SC_CLK_TCK"))


@pytest.mark.parametrize(
    ("command", "arguments", "part"),
    [
        ("sshd", "sshd: shadow", "sshd"),
        ("sshd-session", "sshd-session: shadow", "sshd"),
        ("containerd", "containerd\0--config", "containerd"),
        ("containerd-shim", "containerd-shim-runc-v2", "containerd"),
        ("python3", "/x/python3\0-I\0-m\0ktpy.helper", HELPER),
        ("python3", "/x/python3\0-m\0ktpy.helpers", None),
        ("python3", "/usr/bin/python3\0-IS\0/usr/local/bin/ktpy-agent\0shadow", AGENT),
        ("python3", "/x/python3\0/x/ktpy-agents\0", None),
        ("etcd", "etcd", None),
    ],
)
def test_whose_time_counts(command: str, arguments: str, part: str | None) -> None:
    assert part_of(command, arguments) == part


def test_what_was_spent_is_told_per_gigabyte() -> None:
    before, after = {"": 1.0, "sshd": 0.5}, {"": 3.0, "sshd": 0.75, "kubelet": 9.0}  # that began meanwhile
    assert per_gigabyte("cpu", before, after, 500_000_000) == {"cpu": 4.0, "cpu/sshd": 0.5}


def test_nothing_carried_is_no_figure() -> None:
    with pytest.raises(BenchError):
        per_gigabyte("cpu", {}, {}, 0)


def test_of_a_real_process() -> None:
    assert spent("no lab", os.getpid())[""] > 0
