import os
import time
from pathlib import Path

import pytest

from ktpy.wire.sync import folder as module
from ktpy.wire.sync.entries import FOLDER, IGNORED, LINK
from ktpy.wire.sync.folder import Folder, digest
from tests.kit.full_disk import FullDisk


def test_a_link_is_never_followed_out_of_the_folder(folder: Folder, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("theirs")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "file").symlink_to(tmp_path / "outside" / "file")
    for work in (
        lambda: folder.write(b"link/new", b"x", 0o644),
        lambda: folder.link(b"link/new", b"x"),
        lambda: folder.open_file(b"link/file"),
        lambda: folder.open_file(b"file"),
        lambda: folder.open_folder(b"link"),
        lambda: folder.remove_folder(b"link/x"),
    ):
        with pytest.raises(OSError):
            work()
    assert folder.status(b"link/file") is None
    assert [one.name for one in (tmp_path / "outside").iterdir()] == ["file"]


def test_what_is_there_is_seen(folder: Folder, root: Path) -> None:
    (root / "d").mkdir()
    (root / "file").write_bytes(b"abc")
    (root / "file").chmod(0o4751)
    (root / "link").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    known = folder.look(b"file")
    assert known
    assert (known.entry.mode, known.entry.size, known.entry.content) == (0o751, 3, digest(b"abc"))
    kinds = [known.entry.kind for path in (b"d", b"link", b"pipe") if (known := folder.look(path))]
    assert kinds == [FOLDER, LINK, IGNORED]
    assert folder.look(b"absent") is None


def test_a_file_is_read_again_while_its_next_change_might_not_show(
    folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").write_bytes(b"abc")
    changed_ns = (root / "file").stat().st_ctime_ns
    for later_ns, is_settled in ((0, False), (module._CLOCK_GRAIN_NS - 1, False), (module._CLOCK_GRAIN_NS, True)):
        monkeypatch.setattr(time, "time_ns", lambda now_ns=changed_ns + later_ns: now_ns)
        known = folder.look(b"file")
        assert known
        assert (known.signature is not None) == is_settled


def test_a_file_has_its_name_only_when_it_is_whole(folder: Folder, root: Path) -> None:
    temporary = folder.write(b"file", b"new", 0o640)
    assert not (root / "file").exists()
    assert folder.place(temporary, b"file", None) is None
    assert (root / "file").read_bytes() == b"new"
    assert (root / "file").stat().st_mode & 0o777 == 0o640
    assert [one.name for one in root.iterdir()] == ["file"]


def test_what_somebody_writes_in_that_moment_is_kept(folder: Folder, root: Path) -> None:
    (root / "file").write_bytes(b"old")
    before = folder.status(b"file")
    (root / "other").write_bytes(b"theirs")
    (root / "other").rename(root / "file")
    left = folder.place(folder.write(b"file", b"new", 0o644), b"file", before)
    assert left
    assert ((root / os.fsdecode(left)).read_bytes(), (root / "file").read_bytes()) == (b"theirs", b"new")
    before = folder.status(b"file")
    (root / "file").write_bytes(b"more of theirs")
    assert before
    left = folder.take_away(b"file", before)
    assert left
    assert (root / os.fsdecode(left)).read_bytes() == b"more of theirs"


def test_a_name_that_is_taken_in_that_moment_stays(folder: Folder, root: Path) -> None:
    temporary = folder.write(b"file", b"new", 0o644)
    (root / "file").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        folder.place(temporary, b"file", None)
    assert [one.name for one in root.iterdir()] == ["file"]


def test_without_renameat2_it_is_as_good_as_it_gets(
    folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "exchange", lambda *_: False)
    (root / "file").write_bytes(b"old")
    assert folder.place(folder.write(b"file", b"new", 0o644), b"file", folder.status(b"file")) is None
    assert (root / "file").read_bytes() == b"new"


def test_a_full_disk_leaves_nothing(folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FullDisk(monkeypatch, 2)
    with pytest.raises(OSError, match="space"):
        folder.write(b"file", b"new", 0o644)
    assert list(root.iterdir()) == []


def test_a_durable_folder_has_content_on_the_disk_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    folder = Folder(os.fsencode(root), is_durable=True)
    folder.write(b"file", b"new", 0o644)
    folder.close()
    assert len(flushed) == 1
