"""A file replaced and put back: nothing about it may have changed. Bind mounts are in tests/net."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ktpy.helper import snapshot
from tests.kit.full_disk import FullDisk

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


@pytest.mark.parametrize(
    ("new", "torn"),
    [
        (b"short\n", b"short\nal content\n"),  # written, not yet truncated
        (b"longer than original\n", b"original content\nnal\n"),  # put back, not yet truncated
    ],
)
@pytest.mark.parametrize("form", ["bind-mount", "file"])
def test_a_write_that_a_kill_has_torn_is_recognised(path: Path, form: str, new: bytes, torn: bytes) -> None:
    path.write_bytes(b"original content\n")
    before = replace(snapshot.take(path), form=form)
    written = snapshot.overwritten(before, new, 1)
    for content, is_torn in ((before.content, False), (new, False), (torn, True), (torn + b"more\n", False)):
        path.write_bytes(content)
        assert snapshot.is_torn(path, before, written) == is_torn


@pytest.mark.parametrize("room_bytes", [0, 3])
@pytest.mark.parametrize("form", ["file", "symlink", "absent"])
def test_on_a_full_disk_the_file_stays_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, form: str, room_bytes: int
) -> None:
    make(path, form)
    before, folder = snapshot.take(path), set(path.parent.iterdir())
    FullDisk(monkeypatch, room_bytes)
    with pytest.raises(OSError, match="No space left"):
        snapshot.put(path, snapshot.overwritten(before, b"ours\n", 1))
    assert snapshot.take(path) == before
    assert set(path.parent.iterdir()) == folder


@pytest.mark.parametrize("room_bytes", [0, 3])
def test_on_a_full_disk_a_bind_mount_stays_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    make(path, "file")
    monkeypatch.setattr(snapshot, "_is_mount_point", lambda _: True)
    before = snapshot.take(path)
    FullDisk(monkeypatch, room_bytes)
    with pytest.raises(OSError, match="No space left"):
        snapshot.put(path, snapshot.overwritten(before, b"longer than the original\n", 1))
    assert snapshot.take(path) == before


def test_on_a_full_disk_a_file_is_put_back_over_ours(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path, "file")
    before, folder = snapshot.take(path), set(path.parent.iterdir())
    snapshot.put(path, snapshot.overwritten(before, b"longer than the original\n", 1))
    FullDisk(monkeypatch, 0)
    snapshot.put_back(path, before)
    assert snapshot.take(path) == before
    assert set(path.parent.iterdir()) == folder


def test_a_file_that_is_longer_than_ours_is_put_back_when_there_is_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path, "file")
    before = snapshot.take(path)
    written = snapshot.overwritten(before, b"ours\n", 1)
    snapshot.put(path, written)
    disk = FullDisk(monkeypatch, 0)
    with pytest.raises(OSError, match="No space left"):
        snapshot.put_back(path, before)
    assert snapshot.holds(path, written)
    disk.room_bytes = 100
    snapshot.put_back(path, before)
    assert snapshot.take(path) == before


def test_folder_is_named_in_mountinfo_with_escapes() -> None:
    assert snapshot._unescape(r"/a\040b\134c") == "/a b\\c"
