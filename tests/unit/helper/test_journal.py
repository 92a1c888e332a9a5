"""What is on disk when, and what a torn, foreign or living journal means."""

import fcntl
import json
import os
import stat
from pathlib import Path

import pytest

from ktpy.errors import FolderNotWritable
from ktpy.helper import journal
from ktpy.helper.journal import Journal, open_all_stale, pending_of, stale, undo_all
from ktpy.helper.journal_text import Entry
from tests.kit.full_disk import FullDisk
from tests.kit.journals import abandon, end_helper


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def recorded(directory: Path, *summaries: str) -> Journal:
    open_journal = Journal.create(0, directory)
    for summary in summaries:
        open_journal.record("A", summary, None)
    return open_journal


def assert_no_file(directory: Path) -> None:
    assert [path for path in directory.parent.rglob("*") if not path.is_dir()] == []


def lines(directory: Path) -> list[dict[str, object]]:
    [path] = directory.glob("*.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_change_is_on_disk_when_record_returns(directory: Path) -> None:
    open_journal = Journal.create(1000, directory)
    open_journal.record("TunDevice", "TUN device ktpy0", {"name": "ktpy0"})
    head, change = lines(directory)
    assert head["owner_uid"] == 1000
    assert change == {"change": 0, "kind": "TunDevice", "summary": "TUN device ktpy0", "body": {"name": "ktpy0"}}


def test_every_line_is_synced(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    open_journal = Journal.create(0, directory)
    entry = open_journal.record("A", "a", None)
    open_journal.mark_undone(entry)
    [path] = directory.glob("*.json")
    ends_of_lines = [index + 1 for index, byte in enumerate(path.read_bytes()) if byte == ord("\n")]
    assert [size for size in synced if size in ends_of_lines] == ends_of_lines


def test_anybody_may_read_it_and_only_root_may_hold_its_lock(directory: Path) -> None:
    open_journal = Journal.create(0, directory)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.parent.rglob("*")}
    name = open_journal.journal_id
    assert modes == {"journal": 0o755, f"{name}.json": 0o644, "locks": 0o700, name: 0o600}


def test_it_goes_when_all_is_undone(directory: Path) -> None:
    open_journal = Journal.create(0, directory)
    open_journal.mark_undone(open_journal.record("A", "a", None))
    open_journal.close()
    assert_no_file(directory)


def test_it_stays_when_something_is_left(directory: Path) -> None:
    open_journal = Journal.create(0, directory)
    open_journal.record("A", "a", None)
    open_journal.close()
    end_helper(open_journal.path)
    [found] = stale(directory)
    assert found.pending == ("a",)


def test_living_journal_is_not_stale(directory: Path) -> None:
    open_journal = Journal.create(0, directory)
    assert stale(directory) == []
    assert open_all_stale(directory) == ([], [])
    abandon(open_journal)
    assert [found.head.journal_id for found in stale(directory)] == [open_journal.journal_id]


def test_no_directory_means_no_journals(tmp_path: Path) -> None:
    assert stale(tmp_path / "absent") == []
    assert open_all_stale(tmp_path / "absent") == ([], [])


def test_torn_last_line_is_a_change_never_made(directory: Path) -> None:
    open_journal = Journal.create(0, directory)
    open_journal.record("A", "a", None)
    open_journal._file.write(b'{"change": 1, "kind": "B", "summ')
    abandon(open_journal)
    assert stale(directory)[0].pending == ("a",)
    [taken], _ = open_all_stale(directory)
    taken.record("C", "c", None)  # not glued to the torn one
    assert [entry.summary for entry in pending_of(taken.journal_id, directory)] == ["c", "a"]


def with_a_line(directory: Path, number: int, garbage: bytes) -> Path:
    """Leave a journal of three changes, with a line in place of one of its lines; the first is its head."""
    left = recorded(directory, "a", "b", "c")
    abandon(left)
    lines = left.path.read_bytes().split(b"\n")
    lines[number] = garbage
    left.path.write_bytes(b"\n".join(lines))
    return left.path


GARBAGE = [
    b"",
    b"no json",
    b"[]",
    b"{}",
    b'{"format": 1}',
    b'{"change": "1"}',
    b"\xff\x00",
    b'{"change": 1, "ki{"undone": 0}',
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(("number", "rest"), [(0, ("c", "b", "a")), (1, ("c", "b")), (2, ("c", "a")), (3, ("b", "a"))])
def test_a_line_that_cannot_be_read_hides_no_other(
    directory: Path, garbage: bytes, number: int, rest: tuple[str, ...]
) -> None:
    path = with_a_line(directory, number, garbage)
    told = f"1 of the 4 lines of {path} cannot be read"
    [found] = stale(directory)
    assert found.pending == rest
    assert found.unreadable[0].startswith(told)
    [taken], complaints = open_all_stale(directory)
    undone, _, failures = undo_all(taken, lambda _: None)
    assert (tuple(undone), complaints) == (rest, [])
    assert failures[0].startswith(told)


def test_a_file_with_unreadable_lines_is_told_once_and_kept_for_people(directory: Path) -> None:
    path = with_a_line(directory, 2, b"garbage")
    text = path.read_bytes()
    [taken], _ = open_all_stale(directory)
    undo_all(taken, lambda _: None)
    assert stale(directory) == []
    assert path.with_suffix(".unreadable").read_bytes().startswith(text)


def test_a_line_is_undone_whose_change_cannot_be_read(directory: Path) -> None:
    open_journal = recorded(directory, "a", "b")
    open_journal.mark_undone(open_journal.pending[0])
    open_journal.path.write_bytes(open_journal.path.read_bytes().replace(b'"kind"', b"", 2))
    assert pending_of(open_journal.journal_id, directory) == ()


def test_a_file_without_a_whole_line_is_no_journal_and_goes(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "x.json").write_text('{"format": 1, "jou')
    [taken], _ = open_all_stale(directory)
    assert undo_all(taken, lambda _: None) == ([], [], [])
    assert_no_file(directory)


def test_the_journal_of_another_version_is_named_and_left(directory: Path) -> None:
    directory.mkdir(parents=True)
    path = directory / "x.json"
    path.write_text('{"format": 99}\n')
    sentence = f"{path}: this journal has format 99, another version of ktpy wrote it"
    assert [found.left for found in stale(directory)] == [(sentence,)]
    assert open_all_stale(directory) == ([], [sentence])
    assert path.exists()


def test_what_the_system_does_not_let_read_is_named(directory: Path) -> None:
    (directory / "x.json").mkdir(parents=True)
    assert [found.left for found in stale(directory)] == [
        (f"{directory / 'x.json'}: [Errno 21] Is a directory: '{directory / 'x.json'}'",)
    ]


# --- locks


def test_what_a_kill_left_half_made_goes(directory: Path) -> None:
    """Within `create`, before the journal has its name; within `close`, when the journal is gone already."""
    living = Journal.create(0, directory)
    (directory / ".ab12.new").touch()
    (directory.parent / "locks/ab12").touch()
    assert open_all_stale(directory) == ([], [])
    living.close()
    assert_no_file(directory)


def of_an_earlier_version(directory: Path, helper_pid: int) -> Path:
    directory.mkdir(parents=True)
    path = directory / "ab12.json"
    head = {"format": 1, "journal": "ab12", "owner_uid": 7, "helper_pid": helper_pid, "created_s": 1.5}
    change = {"change": 0, "kind": "A", "summary": "a", "body": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, change)))
    return path


def test_a_journal_of_an_earlier_version_is_found_and_undone(directory: Path) -> None:
    of_an_earlier_version(directory, os.getpid())
    assert [found.pending for found in stale(directory)] == [("a",)]
    [taken], _ = open_all_stale(directory)
    assert undo_all(taken, lambda _: None) == (["a"], [], [])
    assert_no_file(directory)


def test_a_running_helper_of_an_earlier_version_is_left_alone(directory: Path) -> None:
    path = of_an_earlier_version(directory, os.getpid())
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert stale(directory) == []
        assert open_all_stale(directory) == ([], [])


def test_who_holds_the_journal_of_an_earlier_version_without_being_its_helper_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LOCK_WAIT_S", 0.0)
    path = of_an_earlier_version(directory, 1)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert [found.pending for found in stale(directory)] == [("a",)]
        _, [complaint] = open_all_stale(directory)
    assert f"process {os.getpid()} (" in complaint
    assert complaint.endswith(f" holds the lock {path}")


# --- a full disk


def test_a_change_that_cannot_be_written_down_whole_is_refused_and_leaves_no_trace(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_journal = recorded(directory, "a")
    text = open_journal.path.read_bytes()
    disk = FullDisk(monkeypatch, 10)
    with pytest.raises(FolderNotWritable) as caught:
        open_journal.record("B", "b", None)
    assert caught.value.message == (
        f"ktpy cannot write down in {directory} how to undo a change (No space left on device), so it did not make it."
    )
    assert open_journal.path.read_bytes() == text
    assert [entry.summary for entry in open_journal.pending] == ["a"]
    disk.room_bytes = 1000
    open_journal.record("C", "c", None)
    assert [entry.summary for entry in pending_of(open_journal.journal_id, directory)] == ["c", "a"]


def test_no_room_at_any_byte_of_a_line(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_journal = recorded(directory, "a")
    text = open_journal.path.read_bytes()
    line_bytes = len(text.splitlines()[-1]) + 1
    disk = FullDisk(monkeypatch, 0)
    for disk.room_bytes in range(line_bytes):
        with pytest.raises(FolderNotWritable):
            open_journal.record("A", "b", None)
        assert open_journal.path.read_bytes() == text
    disk.room_bytes = line_bytes
    open_journal.record("A", "b", None)


@pytest.mark.parametrize("room_bytes", [0, 10])
def test_a_journal_that_cannot_be_started_leaves_no_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    FullDisk(monkeypatch, room_bytes)
    with pytest.raises(FolderNotWritable):
        Journal.create(0, directory)
    assert_no_file(directory)


def test_all_is_undone_on_a_full_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_journal = recorded(directory, "a", "b")
    FullDisk(monkeypatch, 0)
    assert undo_all(open_journal, lambda _: None) == (["b", "a"], [], [])
    assert_no_file(directory)


def test_what_is_torn_off_a_journal_that_was_taken_over_leaves_no_hole(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandon(recorded(directory, "a", "b"))
    [taken], _ = open_all_stale(directory)
    disk = FullDisk(monkeypatch, 5)
    taken.mark_undone(taken.pending[0])
    disk.room_bytes = 1000
    taken.mark_undone(taken.pending[0])
    assert b"\0" not in taken.path.read_bytes()
    assert [entry.summary for entry in pending_of(taken.journal_id, directory)] == ["b"]


def test_a_file_that_cannot_be_removed_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path, **__: bool) -> None:
        raise OSError(30, "Read-only file system")

    open_journal = recorded(directory, "a")
    monkeypatch.setattr(Path, "unlink", refuse)
    failures = [f"{open_journal.path} cannot be removed: Read-only file system"]
    assert undo_all(open_journal, lambda _: None) == (["a"], [], failures)


def test_youngest_first(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for created_s in (20.0, 30.0, 10.0):
        monkeypatch.setattr("time.time", lambda created_s=created_s: created_s)
        open_journal = Journal.create(0, directory)
        open_journal.record("A", str(created_s), None)
        abandon(open_journal)
    expected = [30.0, 20.0, 10.0]
    assert [found.head.created_s for found in stale(directory)] == expected
    taken, _ = open_all_stale(directory)
    assert [each.head.created_s for each in taken] == expected


def test_only_one_takes_a_stale_journal_over(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOCK_WAIT_S", 0.0)
    abandon(Journal.create(0, directory))
    [first], _ = open_all_stale(directory)
    second, [complaint] = open_all_stale(directory)
    assert second == []
    assert f"process {os.getpid()} (" in complaint
    assert complaint.endswith(f" holds the lock {directory.parent / 'locks' / first.journal_id}")


# --- undoing


def test_undone_in_reverse_order(directory: Path) -> None:
    order: list[str] = []
    undo_all(recorded(directory, "first", "second"), lambda entry: order.append(entry.summary))
    assert order == ["second", "first"]


def test_a_failure_stops_nothing_and_stays(directory: Path) -> None:
    def undo(entry: Entry) -> str | None:
        if entry.summary == "b":
            raise OSError("disk on fire")
        return "c is somebody else's" if entry.summary == "c" else None

    undone, left, failures = undo_all(recorded(directory, "a", "b", "c"), undo)
    assert (undone, left, failures) == (["a"], ["c is somebody else's"], ["b: disk on fire"])
    [again], _ = open_all_stale(directory)
    assert [entry.summary for entry in again.pending] == ["b"]


def test_undo_can_be_repeated(directory: Path) -> None:
    def fails(entry: Entry) -> str | None:
        raise OSError

    undo_all(recorded(directory, "a"), fails)
    [again], _ = open_all_stale(directory)
    assert undo_all(again, lambda entry: None) == (["a"], [], [])
    assert_no_file(directory)


def test_killed_while_undoing_goes_on_where_it_was(directory: Path) -> None:
    open_journal = recorded(directory, "a", "b")
    open_journal.mark_undone(open_journal.pending[0])
    abandon(open_journal)
    assert stale(directory)[0].pending == ("a",)
