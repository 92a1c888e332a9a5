"""This process is there; one of another start is not this one. Those that end: tests/component."""

import os
import pwd
from pathlib import Path

import pytest

from ktpy.helper.processes import describe, is_running, start_ticks, user_name

ABSENT_PID = 2**22 + 1
"""Above the largest number that Linux gives (PID_MAX_LIMIT)."""


def test_a_process_that_runs() -> None:
    started = start_ticks(os.getpid())
    assert started is not None
    assert is_running(os.getpid(), started)


def test_another_process_of_the_same_number_is_not_the_one() -> None:
    assert not is_running(os.getpid(), 1)


def test_a_process_that_is_gone() -> None:
    assert start_ticks(ABSENT_PID) is None
    assert not is_running(ABSENT_PID, 1)


def test_a_process_that_is_hidden_runs_where_signals_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(_: int, number: int) -> None:
        assert number == 0
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert is_running(ABSENT_PID, 1)


def test_a_name_with_a_bracket_does_not_hide_the_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [b"S", *(str(number).encode() for number in range(4, 53))]
    fields[9 - 3] = b"0"
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"7 (a) b) " + b" ".join(fields))
    assert start_ticks(7) == 22


def test_a_process_in_words() -> None:
    assert describe(ABSENT_PID) == f"process {ABSENT_PID}"
    assert describe(os.getpid()).endswith(f" of user {user_name(os.getuid())}")


def test_the_name_of_a_user() -> None:
    assert user_name(0) == pwd.getpwuid(0).pw_name
    assert user_name(987654321) == "987654321"
