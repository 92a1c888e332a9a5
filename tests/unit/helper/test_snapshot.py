"""A file replaced and put back: nothing about it may have changed. Bind mounts are in tests/net."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ktpy.helper import snapshot

NOW_NS = 1_600_000_000_123_456_789


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resolv.conf"


def make(path: Path, form: str) -> None:
    if form == "file":
        path.write_bytes(b"original\xff\n")
        path.chmod(0o640)
        os.setxattr(path, "user.note", b"kept")
    elif form == "symlink":
        path.with_name("target").write_bytes(b"original\n")
        path.symlink_to("target")
    elif form == "dangling":
        path.symlink_to("nowhere")
    if form != "absent":
        os.utime(path, ns=(NOW_NS, NOW_NS), follow_symlinks=False)


@pytest.mark.parametrize("form", ["file", "symlink", "dangling", "absent"])
def test_put_back_exactly(path: Path, form: str) -> None:
    make(path, form)
    before = snapshot.take(path)
    folder = set(path.parent.iterdir())
    written = snapshot.overwritten(before, b"ours\n", 1)
    snapshot.put(path, written)
    assert path.read_bytes() == b"ours\n"
    assert not path.is_symlink()
    assert snapshot.holds(path, written)
    snapshot.put(path, before)
    assert snapshot.take(path) == before
    assert set(path.parent.iterdir()) == folder


def test_mode_owner_and_attributes_are_those_of_the_file_replaced(path: Path) -> None:
    make(path, "file")
    snapshot.put(path, snapshot.overwritten(snapshot.take(path), b"ours\n", 1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.getxattr(path, "user.note") == b"kept"


def test_target_of_a_link_is_never_touched(path: Path) -> None:
    make(path, "symlink")
    snapshot.put(path, snapshot.overwritten(snapshot.take(path), b"ours\n", 1))
    assert path.with_name("target").read_bytes() == b"original\n"


def test_readers_of_the_old_file_keep_it(path: Path) -> None:
    """Renamed over, not written over: no reader sees half a file."""
    make(path, "file")
    with path.open("rb") as reader:
        snapshot.put(path, snapshot.overwritten(snapshot.take(path), b"ours\n", 1))
        assert reader.read() == b"original\xff\n"


def test_holds_is_about_content_and_form(path: Path) -> None:
    make(path, "file")
    before = snapshot.take(path)
    path.chmod(0o600)
    assert snapshot.holds(path, before)
    path.write_bytes(b"other\n")
    assert not snapshot.holds(path, before)
    path.with_name("target").write_bytes(before.content)
    path.unlink()
    path.symlink_to("target")
    assert not snapshot.holds(path, before)


def test_a_failed_put_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path, "file")
    before = snapshot.take(path)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        snapshot.put(path, snapshot.overwritten(before, b"ours\n", 1))
    assert snapshot.take(path) == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("new", [b"longer than before\n", b"short\n"])
def test_torn_write_of_a_bind_mount_is_recognised(path: Path, new: bytes) -> None:
    path.write_bytes(b"original content\n")
    before = replace(snapshot.take(path), form="bind-mount")
    written = snapshot.overwritten(before, new, 1)
    assert not snapshot.is_torn(path, before, written)
    with path.open("r+b") as file:
        file.write(new)
    assert snapshot.is_torn(path, before, written)


def test_folder_is_named_in_mountinfo_with_escapes() -> None:
    assert snapshot._unescape(r"/a\040b\134c") == "/a b\\c"
