"""Processes known by pid and start time."""

import os
from pathlib import Path

import pytest

from tests.lab.processes import ProcessRecord


def test_a_record_survives_writing_and_reading(tmp_path: Path) -> None:
    own = ProcessRecord.of(os.getpid())
    own.write(tmp_path / "record")
    assert ProcessRecord.read(tmp_path / "record") == own
    assert own.alive()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}'])
def test_half_a_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record").write_text(text)
    assert ProcessRecord.read(tmp_path / "record") is None


def test_another_process_with_the_same_pid_is_not_it() -> None:
    own = ProcessRecord.of(os.getpid())
    assert not ProcessRecord(own.pid, own.start_ticks + 1).alive()
