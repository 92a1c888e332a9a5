"""A group of processes ends with all that is in it, also where what led it, or watched over it, is gone."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from ktpy.daemon import process_group
from ktpy.daemon.runtime import COMMAND, RuntimeDirectory
from ktpy.helper.processes import start_ticks

SLEEPS = "sleep 300 & echo $!; wait"
STUBBORN = "trap '' TERM; echo $$; while :; do sleep 0.05; done"


def start(script: str) -> tuple["subprocess.Popen[str]", int]:
    """A process that leads a group, and the number that it prints of one in there."""
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.fixture
def control(tmp_path: Path) -> Path:
    return tmp_path / f"{COMMAND}.1.sock"


def test_children_end_too_after_their_leader(control: Path, tmp_path: Path) -> None:
    process, child = start(SLEEPS)
    process_group.record(control, process.pid)
    process.kill()
    process.wait()
    assert start_ticks(child)
    assert process_group.end_orphans(RuntimeDirectory(tmp_path), COMMAND) == 1
    assert start_ticks(child) is None
    assert list(tmp_path.iterdir()) == []
    assert not process_group.end_recorded(control)


def test_what_does_not_heed_a_signal_is_killed(control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "GRACE_S", 0.3)
    process, _ = start(STUBBORN)
    process_group.record(control, process.pid)
    assert process_group.end_recorded(control)
    assert process.wait() == -signal.SIGKILL


def test_a_number_that_another_process_has_got_since_is_left_alone(control: Path) -> None:
    process, _ = start(SLEEPS)
    process_group.record_of(control).write_text(f"{process.pid} 1")
    assert not process_group.end_recorded(control)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
