"""Engines are shell scripts on the PATH here, which tell how they were called; Debian's packages are real."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.errors import ImageNotBuilt
from ktpy.image import archive, build
from tests.unit.image.images import make_image

NAME = "ghcr.io/ktpy/agent:1"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """The PATH, with nothing on it but a shell's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "cat", "cp", "tar"):
        (folder / program).symlink_to(shutil.which(program) or "")
    monkeypatch.setenv("PATH", str(folder))
    archive.write(make_image(b"one"), NAME, tmp_path / "made.tar")
    return folder


def engine(programs: Path, name: str, body: str) -> Path:
    """An engine of this name; returns where it writes how it was called."""
    calls = programs / f"{name}.calls"
    (programs / name).write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{body}\n')
    (programs / name).chmod(0o755)
    return calls


def test_docker_gets_all_by_pipes_and_what_it_made_is_kept(programs: Path, tmp_path: Path) -> None:
    calls = engine(
        programs, "docker", f"case $1 in build) cat > {tmp_path}/context ;; save) cat {tmp_path}/made.tar ;; esac"
    )
    told: list[str] = []
    first = build.build(NAME, None, "arm64", told.append)
    assert archive.read(first, tmp_path).manifest.digest == make_image(b"one").manifest.digest
    assert calls.read_text().splitlines() == [
        "info",
        f"build --platform linux/arm64 --tag {NAME} --file agent-image/Dockerfile -",
        f"save {NAME}",
    ]
    is_folder, at = b"5", 156
    assert (tmp_path / "context").read_bytes()[at : at + 1] == is_folder  # no header of pax, which Docker does not know
    with tarfile.open(tmp_path / "context") as packed:
        context = packed.getnames()
    assert {"./agent-image/Dockerfile", "./ktpy/__init__.py", "./ktpy/wire/pod.py"} <= set(context)
    assert not any("__pycache__" in path or "sessions" in path for path in context)
    assert build.build(NAME, None, "arm64", told.append) == first
    assert told == ["built by docker"]
    os.utime(first, (0, time.time() - build.MAX_AGE_S - 60))
    build.build(NAME, None, "arm64", told.append)
    assert told == ["built by docker"] * 2
    assert [one.name for one in first.parent.iterdir()] == [first.name]


def test_where_one_fails_the_next_is_tried(programs: Path, tmp_path: Path) -> None:
    engine(programs, "docker", "exit 1")  # its daemon does not run
    engine(programs, "podman", "[ $1 != build ] || { echo no subordinate ids >&2; exit 125; }")
    calls = engine(
        programs,
        "buildah",
        f'case $1 in push) file=${{3#docker-archive:}}; cp {tmp_path}/made.tar "${{file%%:*}}" ;; esac',
    )
    told: list[str] = []
    build.build(NAME, None, None, told.append)
    assert told == [
        "built by podman",
        "podman build failed with exit code 125: no subordinate ids.",
        "built by buildah",
    ]
    assert calls.read_text().startswith("bud --platform linux/")
    with pytest.raises(ImageNotBuilt, match="docker build failed with exit code 1"):
        build.build(NAME, "docker", None, told.append)


def test_what_apt_says_in_the_build_is_the_reason(programs: Path) -> None:
    said = (
        r"\033[91mW: Failed to fetch http://deb/InRelease  Temporary failure resolving\n\033[0m\033[91mE: no haproxy\n"
    )
    engine(programs, "docker", f"[ $1 != build ] || {{ printf '{said}'; echo returned a code: 100 >&2; exit 100; }}")
    with pytest.raises(ImageNotBuilt) as refused:
        build.build(NAME, "docker", None, print)
    why = "W: Failed to fetch http://deb/InRelease  Temporary failure resolving"
    assert refused.value.message == f"docker build failed with exit code 100: {why}."


def test_nothing_to_build_with(programs: Path) -> None:
    with pytest.raises(ImageNotBuilt, match="neither Docker nor Podman nor buildah, and no apt-get") as refused:
        build.build(NAME, None, None, print)
    assert "--archive FILE" in str(refused.value.hint)
    with pytest.raises(ImageNotBuilt, match="There is no apt-get here"):
        build.build(NAME, "packages", None, print)
    other = "arm64" if build.this_architecture() == "amd64" else "amd64"
    with pytest.raises(ImageNotBuilt, match=f"An image for {other} cannot be built of packages"):
        build.build(NAME, "packages", other, print)


@pytest.fixture
def home_of_nobody() -> Iterator[Path]:
    """Not below pytest's folders, which are closed to other users."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        yield Path(folder)


BUILD = f"from ktpy.image import build; print(build.build({NAME!r}, 'packages', None, lambda _: None))"


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="there is no apt-get")
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_packages_are_unpacked_by_a_user_without_rights(tmp_path: Path, home_of_nobody: Path) -> None:
    """Whether the agent's Python and HAProxy run in there, the build has tried; here is what they are started by."""
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-B", "-c", BUILD]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home_of_nobody)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    image = archive.read(Path(done.stdout.strip()), tmp_path)
    with image.layers[0].open() as file, tarfile.open(fileobj=file, mode="r:gz") as layer:
        found = {one.name: one for one in layer}
        accounts = layer.extractfile("etc/nsswitch.conf")
        assert accounts is not None
        assert b"passwd: files extrausers" in accounts.read()
    assert {(one.uid, one.mtime) for one in found.values()} == {(0, 0)}
    assert not any(one.mode & 0o6000 for one in found.values())
    for path in ("usr/sbin/haproxy", "usr/sbin/sshd", "usr/bin/ssh-keygen", "usr/lib/ktpy/agent-image/ktpy-agent"):
        assert found[path].mode == 0o755
    assert found["bin"].linkname == "usr/bin"
    assert "usr/lib/ktpy/ktpy/wire/pod.py" in found
    assert not {"usr/bin/apt-get", "usr/bin/perl", "usr/bin/bash", "usr/bin/ssh"} & found.keys()
    assert sum(one.size for one in found.values()) < 60_000_000
