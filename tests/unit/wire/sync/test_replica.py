import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ktpy.wire.sync.entries import CONTAINER, FILE, FOLDER, IGNORED, LINK, SEALED, UNREADABLE, Entry
from ktpy.wire.sync.folder import Folder, digest, signature
from ktpy.wire.sync.frames import DONE, FAILED, STALE, Request
from ktpy.wire.sync.inotify import Inotify, open_inotify
from ktpy.wire.sync.replica import KEPT_S, Replica
from tests.kit.full_disk import FullDisk


@pytest.fixture
def replica(folder: Folder) -> Replica:
    return Replica(folder, CONTAINER)


def kinds(replica: Replica) -> dict[bytes, int | None]:
    return {path: entry.kind if entry else None for path, entry in replica.scan()}


def file(content: bytes, mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, len(content), digest(content))


def put(path: bytes, content: bytes, expected: Entry | None = None, mode: int = 0o644) -> Request:
    return Request(1, path, expected, file(content, mode), content)


def test_a_scan_tells_what_has_changed(replica: Replica, root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "a").write_text("a")
    (root / "b").symlink_to("d")
    assert kinds(replica) == {b"d": FOLDER, b"d/a": FILE, b"b": LINK}
    assert kinds(replica) == {}
    (root / "d" / "a").rename(root / "d" / "c")
    assert kinds(replica) == {b"d/a": None, b"d/c": FILE}
    (root / "d").rename(root / "e")
    assert kinds(replica) == {b"d": None, b"d/c": None, b"e": FOLDER, b"e/c": FILE}
    (root / "b").unlink()
    (root / "b").mkdir()
    assert kinds(replica) == {b"b": FOLDER}
    assert dict(replica.everything()).keys() == {b"b", b"e", b"e/c"}


def test_a_name_that_is_no_utf_8_is_a_name(replica: Replica, root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe")).write_text("a")
    assert kinds(replica) == {b"\xff\xfe": FILE}
    result = replica.put(put(b"\xfd", b"x"))
    assert result.status == DONE
    assert {os.fsencode(one.name) for one in root.iterdir()} == {b"\xff\xfe", b"\xfd"}


def test_an_ignored_folder_is_not_entered(replica: Replica, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "node_modules" / "inner").mkdir(parents=True)
    (root / ".gitignore").write_text("node_modules\n")
    entered: list[bytes] = []
    original = Folder.open_folder

    def open_folder(self: Folder, path: bytes) -> int:
        entered.append(path)
        return original(self, path)

    monkeypatch.setattr(Folder, "open_folder", open_folder)
    assert kinds(replica) == {b".gitignore": FILE, b"node_modules": IGNORED}
    assert entered == [b""]


def test_what_becomes_ignored_is_told_before_what_is_in_it(replica: Replica, root: Path) -> None:
    (root / "build").mkdir()
    (root / "build" / "a").touch()
    list(replica.scan())
    (root / ".gitignore").write_text("build/\n")
    changes = [(path, entry and entry.kind) for path, entry in replica.rescan({b""})]
    assert [change for change in changes if change[0] != b".gitignore"] == [(b"build", IGNORED), (b"build/a", None)]
    (root / ".gitignore").write_text("")
    assert {b"build", b"build/a"} <= {path for path, _ in replica.rescan({b""})}


def test_the_other_sides_rules_count_in_place_of_our_own(replica: Replica, root: Path) -> None:
    (root / ".gitignore").write_text("a\n")
    (root / "a").touch()
    (root / "b").touch()
    assert kinds(replica) == {b".gitignore": FILE, b"a": IGNORED, b"b": FILE}
    replica.give_rules({b"": b"b\n"})
    assert kinds(replica) == {b"a": FILE, b"b": IGNORED}
    assert replica.rules == {b"": b"a\n"}
    replica.give_rules({})
    assert kinds(replica) == {b"a": IGNORED, b"b": FILE}


def test_what_is_as_expected_is_replaced(replica: Replica, root: Path) -> None:
    assert replica.put(put(b"a", b"1")).status == DONE
    assert replica.put(put(b"a", b"2", file(b"1"))).status == DONE
    assert (root / "a").read_bytes() == b"2"
    assert replica.known(b"a") == replica.look_again(b"a")
    assert kinds(replica) == {}


def test_what_is_not_as_expected_stays(replica: Replica, root: Path) -> None:
    (root / "a").write_bytes(b"theirs")
    for request in (put(b"a", b"new"), put(b"a", b"new", file(b"other"))):
        result = replica.put(request)
        assert (result.status, result.entry and result.entry.content) == (STALE, digest(b"theirs"))
    assert replica.delete(Request(1, b"a", file(b"other"))).status == STALE
    assert replica.delete(Request(1, b"absent", file(b"other"))).status == STALE
    assert replica.aside(Request(1, b"a", file(b"other"))).status == STALE
    assert (root / "a").read_bytes() == b"theirs"


def test_a_mode_changes_without_content(replica: Replica, root: Path) -> None:
    (root / "a").write_bytes(b"1")
    (root / "a").chmod(0o644)
    assert replica.put(Request(1, b"a", file(b"1"), file(b"1", 0o755))).status == DONE
    assert ((root / "a").stat().st_mode & 0o777, (root / "a").read_bytes()) == (0o755, b"1")


def test_folders_and_links_are_made(replica: Replica, root: Path) -> None:
    assert replica.put(Request(1, b"d", None, Entry(FOLDER))).status == DONE
    assert replica.put(Request(1, b"d/l", None, Entry(LINK, content=b"/nowhere"))).status == DONE
    assert (root / "d" / "l").readlink() == Path("/nowhere")
    assert replica.delete(Request(1, b"d", Entry(FOLDER))).status == FAILED
    assert replica.delete(Request(1, b"d/l", Entry(LINK, content=b"/nowhere"))).status == DONE
    assert replica.delete(Request(1, b"d", Entry(FOLDER))).status == DONE
    assert list(root.iterdir()) == []


def test_a_side_that_lies_writes_nothing_outside(replica: Replica, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    assert replica.put(Request(1, b"link", None, Entry(LINK, content=os.fsencode(tmp_path / "outside")))).status == DONE
    assert replica.put(put(b"link/a", b"x")).status == FAILED
    assert replica.put(Request(1, b"link/d", None, Entry(FOLDER))).status == FAILED
    assert replica.put(Request(1, b"link/l", None, Entry(LINK, content=b"x"))).status == FAILED
    assert list((tmp_path / "outside").iterdir()) == []


def test_an_entry_is_set_aside_under_a_name_that_is_free(replica: Replica, root: Path) -> None:
    for content in (b"1", b"1"):
        (root / "a.py").write_bytes(content)
        (root / "a.py").chmod(0o644)
        assert replica.aside(Request(1, b"a.py", file(content))).status == DONE
    version = digest(b"1").hex()[:8]
    copies = {f"a.conflict-container-{version}.py", f"a.conflict-container-{version}-2.py"}
    assert {one.name for one in root.iterdir()} == copies


def test_what_is_written_in_that_moment_is_a_conflict_copy(
    replica: Replica, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"1")
    (root / "a").chmod(0o644)
    original = Folder.write

    def write(folder: Folder, path: bytes, content: bytes, mode: int) -> bytes:
        (root / "theirs").write_bytes(b"theirs")
        (root / "theirs").rename(root / "a")
        return original(folder, path, content, mode)

    monkeypatch.setattr(Folder, "write", write)
    result = replica.put(put(b"a", b"2", file(b"1")))
    assert result.status == DONE
    assert ((root / os.fsdecode(result.detail)).read_bytes(), (root / "a").read_bytes()) == (b"theirs", b"2")


def test_a_full_disk_keeps_what_was_there(replica: Replica, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a").write_bytes(b"1")
    (root / "a").chmod(0o644)
    FullDisk(monkeypatch, 1)
    result = replica.put(put(b"a", b"234", file(b"1")))
    assert (result.status, result.detail) == (FAILED, b"28")
    assert ([one.name for one in root.iterdir()], (root / "a").read_bytes()) == (["a"], b"1")


def test_a_content_that_is_not_what_was_said_is_refused(replica: Replica) -> None:
    with pytest.raises(ValueError, match="differ"):
        replica.put(put(b"a", b"1")._replace(content=b"2"))


def test_the_content_of_a_file_that_has_changed_is_not_handed_over(replica: Replica, root: Path) -> None:
    (root / "a").write_bytes(b"123")
    assert replica.content(b"a", file(b"123")) == b"123"
    assert replica.content(b"a", file(b"12")) is None


def test_what_was_left_long_ago_is_removed(replica: Replica, root: Path) -> None:
    for name, age_s in ((".ktpy-sync.2.part", KEPT_S + 9), (".ktpy-sync.3.part", 0)):
        (root / name).touch()
        os.utime(root / name, (time.time() - age_s,) * 2)
    assert kinds(replica) == {}
    assert [one.name for one in root.iterdir()] == [".ktpy-sync.3.part"]


def test_what_was_written_in_that_moment_is_never_removed(
    replica: Replica, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"1")
    (root / "a").chmod(0o644)
    original = Folder.place

    def place(folder: Folder, temporary: bytes, path: bytes, expected: os.stat_result | None) -> bytes | None:
        (root / "a").write_bytes(b"theirs")
        os.utime(root / "a", (1, 1))
        return original(folder, temporary, path, expected)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    monkeypatch.setattr(Folder, "place", place)
    monkeypatch.setattr(Folder, "rename", refuse)
    result = replica.put(put(b"a", b"2", file(b"1")))
    list(replica.scan())
    assert result.status == DONE
    assert (root / os.fsdecode(result.detail)).read_bytes() == b"theirs"


def test_an_edit_right_after_a_change_is_seen(replica: Replica, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Folder.place

    def place(folder: Folder, temporary: bytes, path: bytes, expected: os.stat_result | None) -> bytes | None:
        unexpected = original(folder, temporary, path, expected)
        (root / "theirs").write_bytes(b"theirs")
        (root / "theirs").rename(root / "a")
        return unexpected

    monkeypatch.setattr(Folder, "place", place)
    monkeypatch.setattr("ktpy.wire.sync.replica.settled", signature)  # as if it took long to look
    assert replica.put(put(b"a", b"1")).status == DONE
    assert kinds(replica) == {b"a": FILE}


def test_an_edit_between_two_looks_is_seen(replica: Replica, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a").write_bytes(b"1")
    (root / "a").chmod(0o644)
    original = Replica.look_again

    def look_again(self: Replica, path: bytes) -> Entry | None:
        entry = original(self, path)
        (root / "a").write_bytes(b"precious")
        return entry

    monkeypatch.setattr(Replica, "look_again", look_again)
    result = replica.put(put(b"a", b"2", file(b"1")))
    assert (root / os.fsdecode(result.detail)).read_bytes() == b"precious"


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o311])
def test_a_folder_that_cannot_be_looked_through_is_not_an_empty_one(replica: Replica, root: Path, mode: int) -> None:
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "a").touch()
    (root / "b").touch()
    assert kinds(replica) == {b"b": FILE, b"d": FOLDER, b"d/a": FILE, b"d/e": FOLDER}
    for name in ("b", "d"):
        (root / name).chmod(mode & ~0o444 if name == "b" else mode)
    with nobody():
        assert kinds(replica) == {b"b": IGNORED, b"d": IGNORED, b"d/a": None, b"d/e": None}
        assert (replica.known(b"b"), replica.known(b"d")) == (SEALED, UNREADABLE)
        assert kinds(replica) == {}
    for name in ("b", "d"):
        (root / name).chmod(0o755)
    assert {path: entry and entry.kind for path, entry in replica.rescan({b""})} == {
        b"b": FILE,
        b"d": FOLDER,
        b"d/a": FILE,
        b"d/e": FOLDER,
    }


@contextmanager
def nobody() -> Iterator[None]:
    """Have no more rights than anybody while the block runs."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def inotify() -> Inotify:
    opened = open_inotify()
    assert opened
    return opened


def test_new_folders_are_watched(folder: Folder, root: Path, inotify: Inotify) -> None:
    replica = Replica(folder, CONTAINER, inotify)
    list(replica.scan())
    assert replica.put(Request(1, b"d", None, Entry(FOLDER))).status == DONE
    assert replica.put(put(b"d/a", b"1")).status == DONE
    (root / "d" / "b").touch()
    assert [path for path, _ in replica.rescan(inotify.read().folders)] == [b"d/b"]
    (root / "d" / "c").touch()
    assert [path for path, _ in replica.rescan(inotify.read().folders)] == [b"d/c"]
    inotify.close()


def test_a_folder_that_is_made_anew_is_watched(folder: Folder, root: Path, inotify: Inotify) -> None:
    replica = Replica(folder, CONTAINER, inotify)
    (root / "d").mkdir()
    list(replica.scan())
    (root / "d").rmdir()
    (root / "d").mkdir()
    assert list(replica.rescan(inotify.read().folders)) == []
    (root / "d" / "later").touch()
    assert [path for path, _ in replica.rescan(inotify.read().folders)] == [b"d/later"]
    inotify.close()


def test_a_folder_in_place_of_another_is_looked_through(folder: Folder, root: Path, inotify: Inotify) -> None:
    replica = Replica(folder, CONTAINER, inotify)
    for name in ("d", "new"):
        (root / name / "inner").mkdir(parents=True)
        (root / name / "inner" / name).touch()
    list(replica.scan())
    (root / "d").rename(root / "old")
    (root / "new").rename(root / "d")
    changed = {path for path, _ in replica.rescan(inotify.read().folders)}
    assert {b"d/inner/d", b"d/inner/new"} <= changed
    (root / "d" / "inner" / "later").touch()
    assert [path for path, _ in replica.rescan(inotify.read().folders)] == [b"d/inner/later"]
    inotify.close()


def test_a_folder_that_was_seen_under_another_name_and_came_back_is_watched(
    folder: Folder, root: Path, inotify: Inotify
) -> None:
    replica = Replica(folder, CONTAINER, inotify)
    for name in ("d", "e"):
        (root / name).mkdir()
    list(replica.scan())
    (root / "e").rename(root / "d" / "moved")  # after the look at the root, and before that at d
    assert dict(replica.rescan({b"d"})).keys() == {b"d/moved"}
    (root / "d" / "moved").rename(root / "e")
    list(replica.rescan(inotify.read().folders))
    (root / "e" / "later").touch()
    assert dict(replica.rescan(inotify.read().folders)).keys() == {b"e/later"}
    inotify.close()


def watches(inotify: Inotify) -> int:
    """So many the kernel has (proc(5))."""
    return Path(f"/proc/self/fdinfo/{inotify.fileno()}").read_text().count("inotify wd:")


def test_a_folder_that_has_gone_elsewhere_is_watched_no_longer(
    folder: Folder, root: Path, inotify: Inotify, tmp_path: Path
) -> None:
    """A user has a number of them for all programs (fs.inotify.max_user_watches)."""
    replica = Replica(folder, CONTAINER, inotify)
    (root / "d" / "inner").mkdir(parents=True)
    list(replica.scan())
    assert watches(inotify) == 3
    (root / "d").rename(tmp_path / "elsewhere")
    list(replica.rescan(inotify.read().folders))
    assert watches(inotify) == 1
    (tmp_path / "elsewhere" / "new").touch()
    assert inotify.read().folders == set()
    inotify.close()


def test_a_folder_that_is_ignored_is_watched_no_longer(folder: Folder, root: Path, inotify: Inotify) -> None:
    replica = Replica(folder, CONTAINER, inotify)
    (root / "d" / "inner").mkdir(parents=True)
    list(replica.scan())
    (root / ".gitignore").write_text("d\n")
    list(replica.rescan(inotify.read().folders))
    assert watches(inotify) == 1
    (root / ".gitignore").unlink()
    list(replica.rescan(inotify.read().folders))
    (root / "d" / "inner" / "new").touch()
    assert dict(replica.rescan(inotify.read().folders)).keys() == {b"d/inner/new"}
    inotify.close()


@pytest.mark.parametrize("first", ["d", ""])
def test_a_folder_that_was_renamed_is_watched_whichever_parent_is_looked_at_first(
    folder: Folder, root: Path, inotify: Inotify, first: str
) -> None:
    replica = Replica(folder, CONTAINER, inotify)
    (root / "d").mkdir()
    (root / "e" / "inner").mkdir(parents=True)
    list(replica.scan())
    (root / "e").rename(root / "d" / "e")
    for one in (first, "" if first else "d"):
        list(replica.rescan({one.encode()}))
    inotify.read()
    assert watches(inotify) == 4
    (root / "d" / "e" / "inner" / "new").touch()
    assert dict(replica.rescan(inotify.read().folders)).keys() == {b"d/e/inner/new"}
    inotify.close()


def test_without_more_watches_it_goes_on_by_looking(
    folder: Folder, inotify: Inotify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Inotify, "watch", refuse)
    replica = Replica(folder, CONTAINER, inotify)
    list(replica.scan())
    assert replica.inotify is None
