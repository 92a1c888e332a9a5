"""Which of a machine's rules forbids a program's own network, and the ways out that are told."""

import errno
import os
from pathlib import Path

import pytest

from ktpy.helper.private import refusals

DENIED = PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture(autouse=True)
def no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "_in_container", lambda: False)


@pytest.mark.parametrize(
    ("setting", "forbids", "fix"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ],
)
def test_a_setting_is_named_with_the_line_that_changes_it(tmp_path: Path, setting: str, forbids: str, fix: str) -> None:
    path = tmp_path / "sys" / setting
    path.parent.mkdir(parents=True)
    path.write_text(f"{forbids}\n")
    told = refusals.refused(DENIED, tmp_path)
    assert f"{setting.replace('/', '.')} = {forbids}" in told.message
    assert f"sudo sysctl -w {fix}" in (told.hint or "")
    assert "ktpy run --mode proxy" in (told.hint or "")
    assert ("sudo ktpy run" in (told.hint or "")) == setting.startswith("kernel")  # the last holds for root as well
    assert told.exit_code == 39


def test_a_filter_of_system_calls_is_a_container_s(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text("Seccomp:\t2\n")
    assert "sandbox" in refusals.refused(DENIED, tmp_path).message


def test_else_the_kernel_s_own_word_is_told(tmp_path: Path) -> None:
    assert "Operation not permitted" in refusals.refused(DENIED, tmp_path).message


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "chmod 0666 /dev/net/tun"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "modprobe tun"),
    ],
)
def test_a_tun_device_that_cannot_be_opened(error: OSError, fix: str) -> None:
    assert fix in (refusals.tun_refused(error).hint or "")
