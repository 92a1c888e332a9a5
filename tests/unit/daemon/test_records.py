from pathlib import Path

import pytest

from ktpy.daemon.records import Record, Records
from ktpy.errors import FolderNotWritable

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


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"session": "ab12"}'])
def test_a_file_that_is_no_record_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "ab12.json").write_text(content)
    with Records(tmp_path).stale() as stale:
        assert stale == []
    assert (tmp_path / "ab12.json").exists()


def test_a_home_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(FolderNotWritable), Records(tmp_path / "home/records").hold(RECORD):
        pytest.fail("held")
