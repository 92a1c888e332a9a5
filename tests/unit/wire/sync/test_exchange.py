import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.wire.sync import exchange as module
from ktpy.wire.sync.exchange import exchange, move_to_free


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_two_names_are_exchanged(folder: int, tmp_path: Path) -> None:
    assert exchange(folder, b"a", b"b")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("b", "a")


def test_a_name_that_is_gone_is_an_error(folder: int) -> None:
    with pytest.raises(FileNotFoundError):
        exchange(folder, b"a", b"c")


@pytest.mark.parametrize("has_ctypes", [True, False])
def test_a_name_that_is_taken_stays(
    folder: int, tmp_path: Path, has_ctypes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_ctypes:
        monkeypatch.setattr(module, "_renameat2", lambda: None)
    with pytest.raises(FileExistsError):
        move_to_free(folder, b"a", folder, b"b")
    move_to_free(folder, b"a", folder, b"c")
    assert ((tmp_path / "c").read_text(), (tmp_path / "b").read_text()) == ("a", "b")


def test_where_the_kernel_cannot_it_says_so(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_renameat2", lambda: None)
    assert not exchange(folder, b"a", b"b")
