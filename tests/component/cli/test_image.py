"""The whole command, as a process, against a real registry."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from ktpy.image import archive
from ktpy.sessions.options import DEFAULT_IMAGE
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
    again = push(*arguments)
    assert (again.returncode, again.stdout.count("\n")) == (0, 1), again.stderr


def test_loaded_by_the_clusters_own_command(home: Path, tmp_path: Path) -> None:
    archive.write(make_image(b"one"), "agent:1", tmp_path / "image.tar")
    (tmp_path / "kind").write_text(
        f'#!/bin/sh\n[ "$4" = --name ] && [ "$5" = two ] && exec cp "$3" {tmp_path}/loaded.tar\necho "no $5"; exit 1\n'
    )
    (tmp_path / "kind").chmod(0o755)
    entries = "clusters: [{name: c, cluster: {server: 'https://192.0.2.1'}}]\nusers: [{name: u, user: {}}]\n"
    contexts = ", ".join(f"{{name: kind-{one}, context: {{cluster: c, user: u}}}}" for one in ("two", "three"))
    (tmp_path / "config").write_text(f"current-context: kind-two\ncontexts: [{contexts}]\n{entries}")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBECONFIG": str(tmp_path / "config")}

    def load(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "ktpy", "image", "load", "--archive", str(tmp_path / "image.tar"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    done = load()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{DEFAULT_IMAGE} for linux/amd64: kind two has it.\n"
    with tarfile.open(tmp_path / "loaded.tar") as loaded:
        manifest = loaded.extractfile("manifest.json")
        assert manifest is not None
        assert f'"RepoTags":["{DEFAULT_IMAGE}"]' in manifest.read().decode()
    failed = load("--context", "kind-three")
    assert failed.returncode == 68
    assert "error: kind load image-archive" in failed.stderr
    assert "failed with exit code 1: no three." in failed.stderr
    assert list(home.iterdir()) == []
