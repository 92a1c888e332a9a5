"""The whole command, as a process, against a real registry."""

import subprocess
import sys
from pathlib import Path

from ktpy.image import archive
from tests.component.image.conftest import authority, home, log_in, program, start, with_password
from tests.unit.image.images import make_image

__all__ = ["authority", "home", "program", "start", "with_password"]


def push(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ktpy", "image", "push", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_pushed_and_remembered_and_named_in_what_is_next(
    with_password: str, authority: Path, home: Path, tmp_path: Path
) -> None:
    archive.write(make_image(b"one"), "agent:1", tmp_path / "image.tar")
    arguments = (f"{with_password}/agent:7", "--archive", str(tmp_path / "image.tar"), "--ca", str(authority))
    refused = push(*arguments)
    assert (refused.returncode, refused.stdout) == (67, "")
    assert f"hint: Log in: docker login {with_password}" in refused.stderr
    assert list(home.iterdir()) == []
    log_in(home, with_password)
    done = push(*arguments)
    assert done.returncode == 0, done.stderr
    assert (home / ".config/ktpy/config.toml").read_text() == f'image = "{with_password}/agent:7"\n'
