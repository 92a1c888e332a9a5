import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ktpy.completion import cache

FILE = "names.json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ktpy"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def kept(made: Any, key: str = "a", *, most: int = 2) -> Any:
    return cache.kept(FILE, key, lambda: made, most=most, max_age_s=10)


def test_nothing_is_older_than_it_may_be_nor_from_the_future(clock: list[float]) -> None:
    assert kept(1) == 1
    clock[0] = 1010.0
    assert kept(2) == 1
    clock[0] = 1010.1
    assert kept(3) == 3
    clock[0] = 1000.0  # somebody set it back
    assert kept(4) == 4


def test_it_is_as_old_as_the_question(clock: list[float]) -> None:
    def slow() -> int:
        clock[0] += 8
        return 1

    cache.kept(FILE, "a", slow, most=1, max_age_s=10)
    clock[0] += 3
    assert kept(2) == 2


def test_the_file_keeps_the_newest_few(clock: list[float], folder: Path) -> None:
    for key in "abc":
        clock[0] += 1
        kept(key, key)
    assert set(json.loads((folder / FILE).read_text())) == {"b", "c"}


def test_only_its_user_may_read_it(folder: Path) -> None:
    before = os.umask(0)
    try:
        kept(1)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / FILE)] == [0o700, 0o600]
    assert [path.name for path in folder.iterdir()] == [FILE], "a temporary file is left"


def _truncate(folder: Path) -> None:
    (folder / FILE).write_text('{"a": [10')


def _write_something_else(folder: Path) -> None:
    (folder / FILE).write_text(json.dumps({"a": [time.time()], "b": "c", "d": [None, 1]}))


def _nest(folder: Path) -> None:
    (folder / FILE).write_text("[" * 100_000)


def _put_a_fifo(folder: Path) -> None:
    (folder / FILE).unlink()
    os.mkfifo(folder / FILE, 0o600)


@pytest.mark.parametrize("damage", [_truncate, _write_something_else, _nest, _put_a_fifo])
def test_what_is_damaged_is_made_again(folder: Path, damage: Callable[[Path], None]) -> None:
    kept(1)
    damage(folder)
    assert (kept(2), kept(3)) == (2, 2)


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text(json.dumps({"a": [time.time(), "forged"]}))
    before = theirs.read_text()
    folder.mkdir(mode=0o700)
    (folder / FILE).symlink_to(theirs)
    assert (kept(1), kept(2)) == (1, 1), "the link is replaced"
    assert theirs.read_text() == before


def test_a_folder_that_is_a_link_or_open_to_others_is_not_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert (kept(1), kept(2)) == (1, 2)
    folder.unlink()
    folder.mkdir()
    folder.chmod(0o777)
    assert (kept(1), kept(2)) == (1, 2)
    assert not list(folder.iterdir())
    assert not list((tmp_path / "elsewhere").iterdir())


def test_where_nothing_can_be_written_it_is_made_each_time(folder: Path) -> None:
    folder.write_text("a file")
    assert (kept(1), kept(2)) == (1, 2)
    cache.forget(FILE)


def test_a_relative_folder_of_the_environment_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    kept(1)
    assert (tmp_path / ".cache/ktpy" / FILE).exists()
