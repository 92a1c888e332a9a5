"""What is on disk when, and what a torn, foreign or living journal means."""

import json
import os
import stat
from pathlib import Path

import pytest

from ktpy.helper import journal
from ktpy.helper.journal import Entry, Journal, open_all_stale, stale, undo_all


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def abandon(open_journal: Journal) -> None:
    """What a SIGKILL does: the lock goes, the file stays."""
    open_journal._file.close()


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


def test_anybody_may_read_it(directory: Path) -> None:
    Journal.create(0, directory)
    [path] = directory.glob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


def test_it_goes_when_all_is_undone(directory: Path) -> None:
    open_journal = Journal.create(0, directory)
    open_journal.mark_undone(open_journal.record("A", "a", None))
    open_journal.close()
    assert list(directory.iterdir()) == []


def test_it_stays_when_something_is_left(directory: Path) -> None:
    open_journal = Journal.create(0, directory)
    open_journal.record("A", "a", None)
    open_journal.close()
    [found] = stale(directory)
    assert found.pending == ("a",)


def test_living_journal_is_not_stale(directory: Path) -> None:
    open_journal = Journal.create(0, directory)
    assert stale(directory) == []
    assert open_all_stale(directory) == ([], [])
    abandon(open_journal)
    assert [found.head for found in stale(directory)] == [open_journal.head]


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
    assert [entry.summary for entry in journal.pending_of(taken.journal_id, directory)] == ["c", "a"]


@pytest.mark.parametrize("text", ["", "no json\n", "[]\n", "{}\n", '{"format": 99}\n', '{"format": 1}\n'])
def test_what_is_no_journal_is_named_and_left(directory: Path, text: str) -> None:
    directory.mkdir(parents=True)
    (directory / "x.json").write_text(text)
    assert stale(directory) == []
    journals, [complaint] = open_all_stale(directory)
    assert journals == []
    assert "x.json" in complaint
    assert (directory / "x.json").exists()


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
    first, _ = open_all_stale(directory)
    second, complaints = open_all_stale(directory)
    assert (len(first), second, complaints) == (1, [], [])


# --- undoing


def recorded(directory: Path, *summaries: str) -> Journal:
    open_journal = Journal.create(0, directory)
    for summary in summaries:
        open_journal.record("A", summary, None)
    return open_journal


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
    assert stale(directory)[0].pending == ("b",)


def test_undo_can_be_repeated(directory: Path) -> None:
    def fails(entry: Entry) -> str | None:
        raise OSError

    undo_all(recorded(directory, "a"), fails)
    [again], _ = open_all_stale(directory)
    assert undo_all(again, lambda entry: None) == (["a"], [], [])
    assert list(directory.iterdir()) == []


def test_killed_while_undoing_goes_on_where_it_was(directory: Path) -> None:
    open_journal = recorded(directory, "a", "b")
    open_journal.mark_undone(open_journal.pending[0])
    abandon(open_journal)
    assert stale(directory)[0].pending == ("a",)
