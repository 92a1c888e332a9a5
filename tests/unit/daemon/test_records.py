import errno
import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import IO

import pytest

from ktpy.daemon.records import Record, Records
from ktpy.errors import FolderNotWritable
from tests.kit.full_disk import FullDisk

RECORD = Record("ab12", "exchange", "web", "shop", "https://a", "lab", None)


def test_a_session_that_lives_is_not_stale_and_one_that_has_left_is_forgotten(tmp_path: Path) -> None:
    records = Records(tmp_path / "made" / "on demand")
    with records.hold(RECORD):
        with records.stale() as stale:
            assert stale == []
        records.forget(RECORD)
    assert list((tmp_path / "made/on demand").iterdir()) == []


def test_without_a_directory_nothing_is_stale(tmp_path: Path) -> None:
    with Records(tmp_path / "absent").stale() as stale:
        assert stale == []


def test_what_could_not_be_undone_stays_for_the_next_time(tmp_path: Path) -> None:
    records = Records(tmp_path)
    with records.hold(RECORD):
        pass
    with records.stale() as stale:
        assert stale == [RECORD]
        records.forget(RECORD)
    with records.stale() as stale:
        assert stale == []


OF_OTHER_TYPES = json.dumps(asdict(RECORD) | {"namespace": None})
NO_RECORDS = ["[]", "{}", '{"session": "ab12"}', OF_OTHER_TYPES]


def left(tmp_path: Path) -> Records:
    """Leave the record of a killed session."""
    records = Records(tmp_path)
    with records.hold(RECORD):
        pass
    return records


@pytest.mark.parametrize("content", ["", "{", *NO_RECORDS, "{garbage\n", "[" * 100_000 + "\n", "\0\n"])
@pytest.mark.parametrize("name", ["aa.json", "zz.json"])
def test_a_file_that_is_no_record_hides_no_other(tmp_path: Path, name: str, content: str) -> None:
    records = left(tmp_path)
    (tmp_path / name).write_text(content)
    with records.stale() as stale:
        assert stale == [RECORD]


@pytest.mark.parametrize("content", NO_RECORDS)
def test_what_another_version_may_read_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "zz.json").write_text(content)
    assert Records(tmp_path).put_aside() == []
    assert (tmp_path / "zz.json").read_text() == content


def test_what_cannot_be_read_is_told_once_and_kept(tmp_path: Path) -> None:
    records = left(tmp_path)
    (tmp_path / "zz.json").write_bytes(b"{\xff\n")
    assert records.put_aside() == [tmp_path / "zz.unreadable"]
    assert (tmp_path / "zz.unreadable").read_bytes() == b"{\xff\n"
    assert records.put_aside() == []


@pytest.mark.parametrize("content", ["", '{"session": "ab'])
def test_a_record_that_was_never_finished_goes(tmp_path: Path, content: str) -> None:
    records = left(tmp_path)
    (tmp_path / "zz.json").write_text(content)
    assert records.put_aside() == []
    assert [path.name for path in tmp_path.iterdir()] == ["ab12.json"]


def test_a_record_that_is_being_written_is_not_taken_for_an_unfinished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command may look between the making of the file and its lock."""
    records = Records(tmp_path)
    flock = fcntl.flock

    def look_first(file: IO[bytes], operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        assert records.put_aside() == []
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", look_first)
    with records.hold(RECORD):
        assert [path.name for path in tmp_path.iterdir()] == ["ab12.json"]


@pytest.mark.parametrize("room_bytes", [0, 10])
def test_on_a_full_disk_nothing_is_begun_or_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    FullDisk(monkeypatch, room_bytes)
    with pytest.raises(FolderNotWritable, match="No space left") as caught, Records(tmp_path).hold(RECORD):
        pytest.fail("held")
    assert (caught.value.hint or "").startswith("Make room there")
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(FolderNotWritable), Records(tmp_path / "home/records").hold(RECORD):
        pytest.fail("held")


def test_a_record_that_cannot_be_removed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path, **__: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    records = left(tmp_path)
    with monkeypatch.context() as read_only:
        read_only.setattr(Path, "unlink", refuse)
        records.forget(RECORD)
    with records.stale() as stale:
        assert stale == [RECORD]
