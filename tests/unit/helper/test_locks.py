"""A lock is held, waited for only so long, and its holder named. Other users and processes: tests/component."""

import os
import stat
from pathlib import Path

import pytest

from ktpy.errors import HelperFailed
from ktpy.helper import locks
from ktpy.helper.locks import Lock, exclusive, holders


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "EXCLUSIVE_WAIT_S", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_it_is_for_its_owner_alone_also_where_the_folder_was_open_before(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    lock = Lock.take(folder / "a")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o600
    lock.release(for_good=True)


def test_the_holder_is_named(folder: Path) -> None:
    lock = Lock.take(folder / "a")
    with pytest.raises(TimeoutError, match=rf"process {os.getpid()} \(.+\) of user .+ holds the lock {folder / 'a'}$"):
        Lock.take(folder / "a")
    lock.release(for_good=False)
    Lock.take(folder / "a").release(for_good=True)
    assert list(folder.iterdir()) == []


def test_a_link_is_no_lock(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Lock.take(folder / "a")
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_held_exclusively_is_a_refusal_that_names_the_holder(folder: Path) -> None:
    with exclusive(folder), pytest.raises(HelperFailed) as caught, exclusive(folder):
        pytest.fail("two at once")
    assert caught.value.message.startswith(f"For 0 s process {os.getpid()} (")
    assert caught.value.message.endswith(f" holds the lock {folder}, so ktpy did not make the change.")
    with exclusive(folder):
        pass


def test_a_time_out_within_is_not_taken_for_one_of_the_lock(folder: Path) -> None:
    with pytest.raises(TimeoutError), exclusive(folder):
        raise TimeoutError


def test_holders_are_those_of_this_file(folder: Path) -> None:
    held, free = Lock.take(folder / "a"), Lock.take(folder / "b")
    free.release(for_good=False)
    for name, pids in (("a", [os.getpid()]), ("b", [])):
        with (folder / name).open() as file:
            assert holders(file.fileno()) == pids
    held.release(for_good=True)
