"""Writes that come short."""

import errno
import os
from pathlib import Path

import pytest

from ktpy.helper.disk import sync_folder, write_all
from tests.kit.full_disk import FullDisk


def test_what_is_written_in_parts_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:3]))
    with (tmp_path / "file").open("wb", buffering=0) as file:
        write_all(file.fileno(), b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FullDisk(monkeypatch, 4)
    with (tmp_path / "file").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space") as caught:
        write_all(file.fileno(), b"0123456789")
    assert caught.value.errno == errno.ENOSPC


def test_a_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    sync_folder(tmp_path)
    assert synced == [tmp_path.stat().st_ino]
