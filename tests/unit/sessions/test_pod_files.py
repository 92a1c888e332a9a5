"""What of a pod's files is told; that they come and follow: tests/e2e/test_env.py."""

import shutil
from pathlib import Path

import pytest

from ktpy.capture.namespace.pod_files import PodFiles
from ktpy.cluster.pods.volumes import PodMount, VolumeKind
from ktpy.sessions.pod_files import needed_below, remarks


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("/", "/bin"),
        ("/etc", "/etc"),
        ("/usr", "/bin"),
        ("/usr/share/nginx", None),
        ("/etc/app", None),
        ("/var/run/secrets", None),
        ("/ktpy-absent", None),
    ],
)
def test_what_every_program_needs_stays(path: str, hidden: str | None) -> None:
    found = needed_below(path, "no-such-program")
    assert (found is None) if hidden is None else (found and Path(found).resolve() == Path(hidden).resolve())


def test_so_do_the_program_and_the_folders_that_it_is_run_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tools" / "app"
    for folder in ("tools", "work", "home", "other"):
        (tmp_path / folder).mkdir()
    program.touch(0o755)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert shutil.which(str(program))
    hidden = {folder: needed_below(str(tmp_path / folder), str(program)) for folder in ("tools", "work", "home")}
    assert hidden == {"tools": str(program), "work": str(tmp_path / "work"), "home": str(tmp_path / "home")}
    assert needed_below(str(tmp_path / "other"), str(program)) is None
    (tmp_path / "work").rmdir()
    assert needed_below(str(tmp_path / "work"), str(program)) is None


def test_what_is_not_as_in_the_pod_is_told(tmp_path: Path) -> None:
    mounts = [
        PodMount("/logs", VolumeKind.OTHER),
        PodMount("/data", VolumeKind.CLAIM, claim="data"),
        PodMount("/none", VolumeKind.CLAIM, claim="none"),
        PodMount("/etc/app", VolumeKind.KUBELET),
        PodMount("/etc/lost", VolumeKind.KUBELET),
        PodMount("/cache", VolumeKind.SCRATCH),
    ]
    files = PodFiles(tmp_path, mounts)
    files.arrived |= {"/data": False, "/etc/app": True}
    assert [text.partition(" ")[0] for text in remarks(mounts, files)] == ["/logs", "/data", "/etc/lost"]
