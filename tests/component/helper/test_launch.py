"""Telling a sudo that refuses from a helper that cannot run."""

import subprocess
import sys
from pathlib import Path

import pytest

from ktpy.errors import HelperFailed, PrivilegeMissing
from ktpy.helper import launch
from ktpy.helper.launch import LaunchedHelper


@pytest.fixture
def fake_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `sudo` on PATH, for a user who is not root."""
    sudo = tmp_path / "sudo"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    return sudo


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def ended(launched: LaunchedHelper) -> LaunchedHelper:
    launched._process.wait()
    return launched


def test_sudo_is_asked_for_the_helper_alone(fake_sudo: Path) -> None:
    script(fake_sudo, 'echo "$@" >&2')
    launched = ended(launch.launch())
    assert launched.by_sudo
    assert launched.last_words() == f" (-- {sys.executable} -I -m ktpy.helper)"
    launched.close()


def test_no_sudo(fake_sudo: Path) -> None:
    with pytest.raises(PrivilegeMissing, match="no sudo") as caught:
        launch.launch()
    assert caught.value.hint


@pytest.mark.parametrize(
    "words",
    [
        "sudo: a password is required",
        f"Sorry, user bob is not allowed to execute '{sys.executable} -I -m ktpy.helper' as root on box.",
        "bob is not in the sudoers file.",
    ],
)
def test_sudo_refuses(fake_sudo: Path, words: str) -> None:
    script(fake_sudo, f'echo "{words}" >&2; exit 1')
    launched = launch.launch()
    failure = launched.failure()
    assert type(failure) is PrivilegeMissing
    assert words in failure.message
    launched.close()


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (f"{sys.executable}: No module named ktpy.helper", 1),
        ("Traceback (most recent call last):", 1),
        ("The standard input of ktpy's helper is not the socket", 2),
        ("Traceback (most recent call last):", 0),
    ],
)
def test_helper_cannot_run_behind_sudo(fake_sudo: Path, words: str, exit_code: int) -> None:
    script(fake_sudo, f'echo "{words}" >&2; exit {exit_code}')
    launched = launch.launch()
    assert type(launched.failure()) is HelperFailed
    launched.close()


def test_letting_go_ends_a_sudo_that_still_asks(fake_sudo: Path) -> None:
    script(fake_sudo, "exec /bin/sleep 60")
    launched = launch.launch()
    launched.close()
    assert launched._process.wait(5) == -15


def test_by_hand_it_says_what_it_is_for() -> None:
    done = subprocess.run(launch.COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not for use by hand" in done.stderr
