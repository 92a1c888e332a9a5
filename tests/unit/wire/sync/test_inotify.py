import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.wire.sync.inotify import Inotify, open_inotify


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    opened = open_inotify()
    assert opened
    yield opened
    opened.close()


def watched(inotify: Inotify, folder: Path, path: bytes) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    inotify.watch(descriptor, path)
    os.close(descriptor)


def test_the_folder_is_told_in_which_something_changes(inotify: Inotify, tmp_path: Path) -> None:
    watched(inotify, tmp_path, b"d")
    assert inotify.read().folders == set()
    (tmp_path / "a").touch()
    assert inotify.read().folders == {b"d"}


def test_a_file_that_is_open_still_is_told_apart(inotify: Inotify, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    watched(inotify, tmp_path, b"d")
    with (tmp_path / "a").open("w") as file:
        file.write("x")
        file.flush()
        seen = inotify.read()
        assert seen.written == {b"d"}
        assert seen.folders == set()
    assert inotify.read().folders == {b"d"}


def test_a_folder_that_was_renamed_has_its_new_name_once_it_is_watched_again(inotify: Inotify, tmp_path: Path) -> None:
    watched(inotify, tmp_path, b"old")
    watched(inotify, tmp_path, b"new")
    (tmp_path / "a").touch()
    assert inotify.read().folders == {b"new"}


def test_a_folder_that_is_removed_is_watched_no_longer(inotify: Inotify, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    watched(inotify, tmp_path / "d", b"d")
    assert inotify.is_watched(b"d")
    (tmp_path / "d").rmdir()
    inotify.read()
    assert not inotify.is_watched(b"d")


def test_what_is_forgotten_is_watched_no_longer_unless_it_has_another_path(inotify: Inotify, tmp_path: Path) -> None:
    watched(inotify, tmp_path, b"old")
    watched(inotify, tmp_path, b"new")
    inotify.forget(b"old")
    (tmp_path / "a").touch()
    assert inotify.read().folders == {b"new"}
    inotify.forget(b"new")
    inotify.forget(b"new")
    (tmp_path / "b").touch()
    assert inotify.read().folders == set()
    assert not inotify.is_watched(b"new")


def test_a_folder_that_takes_the_place_of_another_is_watched_in_its_stead(inotify: Inotify, tmp_path: Path) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        watched(inotify, tmp_path / name, b"d")
    (tmp_path / "before" / "a").touch()
    assert inotify.read().folders == set()
    (tmp_path / "after" / "a").touch()
    assert inotify.read().folders == {b"d"}


def test_without_ctypes_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert open_inotify() is None
