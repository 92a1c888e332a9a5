from pathlib import Path

import pytest

from ktpy.sync.state import State, read_state, write_state
from ktpy.wire.sync.entries import FILE, LINK, Entry

STATE = State("mark", {b"a\xff": Entry(FILE, 0o644, 1, bytes(16), 5), b"d/l": Entry(LINK, content=b"../a")})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "states" / "one"
    write_state(file, tmp_path, STATE)
    return file


def test_a_state_is_kept(file: Path, tmp_path: Path) -> None:
    assert read_state(file, tmp_path) == STATE
    assert [one.name for one in file.parent.iterdir()] == ["one"]


def test_the_state_of_another_folder_does_not_count(file: Path) -> None:
    assert read_state(file, file.parent) is None


@pytest.mark.parametrize("cut", [0, 5, 90, -1])
def test_a_state_that_was_cut_does_not_count(file: Path, tmp_path: Path, cut: int) -> None:
    file.write_bytes(file.read_bytes()[:cut])
    assert read_state(file, tmp_path) is None


def test_without_a_file_there_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path / "absent", tmp_path) is None


def test_a_state_that_cannot_be_written_leaves_the_old_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="space"):
        write_state(file, tmp_path, State("other", {}))
    assert read_state(file, tmp_path) == STATE
    assert [one.name for one in file.parent.iterdir()] == ["one"]
