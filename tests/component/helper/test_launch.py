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
    assert launched._process.wait(60) == -15


MARKED = ("PATH", "PYTHONPATH", "PYTHONSTARTUP", "LD_LIBRARY_PATH", "GCONV_PATH", "KUBECONFIG")


def test_root_gives_the_helper_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in MARKED:
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("SUDO_UID", "4711")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(launch, "COMMAND", ("/usr/bin/env",))
    # Standard output goes nowhere: env prints by way of the shell that stands before it.
    launched = ended(launch.launch(["/bin/sh", "-c", 'unset PWD OLDPWD SHLVL _; exec "$@" >&2', "sh"]))
    assert set(launched._lines()) == {f"PATH={launch.SYSTEM_PATH}", "SUDO_UID=4711"}
    launched.close()


def test_a_module_of_the_caller_does_not_get_into_the_helper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "COMMAND", (sys.executable, "-c", ""))  # even without -I
    launched = launch.launch([])
    assert launched.is_started()
    assert not (tmp_path / "was-run").exists()
    launched.close()


def test_sudo_gets_what_it_asks_the_user_with_alone(fake_sudo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(fake_sudo, "unset PWD OLDPWD SHLVL _; exec /usr/bin/env >&2")
    for name in MARKED[1:]:
        monkeypatch.setenv(name, str(fake_sudo.parent))
    monkeypatch.setenv("SUDO_ASKPASS", "/usr/bin/askpass")
    launched = ended(launch.launch(launch.WITHOUT_A_PASSWORD))
    names = {line.partition("=")[0] for line in launched._lines()}
    assert {"PATH", "SUDO_ASKPASS"} <= names
    assert not names & set(MARKED[1:])
    assert f"PATH={launch.SYSTEM_PATH}" in launched._lines()
    launched.close()


def test_by_hand_it_says_what_it_is_for() -> None:
    done = subprocess.run(launch.COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not for use by hand" in done.stderr
