"""Processes that end, are ended, or stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.errors import LabError
from tests.lab.processes import ProcessRecord, kill_and_wait, start_daemon, wait_until


def test_a_zombie_does_not_live() -> None:
    child = subprocess.Popen(["sleep", "60"])
    record = ProcessRecord.of(child.pid)
    child.kill()
    wait_until(lambda: not record.alive(), 60, "the zombie to count as dead")
    child.wait()


def test_kill_returns_when_it_is_gone() -> None:
    child = subprocess.Popen(["sleep", "60"])
    record = ProcessRecord.of(child.pid)
    record.kill()
    assert not record.alive()
    child.wait()
    record.kill()  # no-op


def test_all_that_are_killed_have_ended_and_others_are_no_error() -> None:
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    gone = subprocess.Popen(["true"])
    gone.wait()
    kill_and_wait([gone.pid, *(child.pid for child in children)], 5)
    assert [child.poll() for child in children] == [-signal.SIGKILL] * 3


def test_a_daemon_that_fails_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    with pytest.raises(LabError, match="no such luck"):
        start_daemon(command, log=tmp_path / "log", ready="ready")


def test_a_daemon_lives_on_after_it_said_it_is_ready(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    start_daemon(["sh", "-c", f"echo $$ > {pid_file}; echo ready; exec sleep 60"], log=tmp_path / "log", ready="ready")
    record = ProcessRecord.of(int(pid_file.read_text()))
    record.kill()
    os.waitpid(record.pid, 0)


def test_a_build_dies_with_the_command_that_started_it() -> None:
    script = (
        "import subprocess, sys; from tests.lab.processes import die_with_parent;"
        "print(subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent).pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = ProcessRecord.of(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    wait_until(lambda: not child.alive(), 60, "the child to die")
