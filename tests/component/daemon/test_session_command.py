"""A session's command as a process: what it tells, and how it ends."""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ktpy.daemon import session_command
from ktpy.daemon.session_command import SessionCommand
from ktpy.observe.events import Ended, Event, Notice, encode


@contextmanager
def saying(monkeypatch: pytest.MonkeyPatch, program: str, **more: object) -> Iterator[SessionCommand]:
    monkeypatch.setattr(session_command, "KTPY", (sys.executable, "-c", program))
    command = SessionCommand("mesh", "web", environment={"SAID": "in passing"}, pass_fds=(), **more)  # type: ignore[arg-type]
    try:
        yield command
    finally:
        command.popen.kill()


def heard(command: SessionCommand) -> tuple[list[Event | str], Ended]:
    events = list(command.events())
    return events, command.wait(next((one for one in reversed(events) if isinstance(one, Ended)), None))


def test_what_it_prints_is_heard_events_and_other_lines_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Ended(0, "Everything is undone.")
    lines = [encode(Notice("a note")), "", encode(ended)]
    program = f"import os, sys; print(os.environ['SAID'], *{lines!r}, *sys.argv[1:], sep='\\n', file=sys.stderr)"
    with saying(monkeypatch, program) as command:
        assert heard(command) == (["in passing", Notice("a note"), "", ended, "mesh", "web"], ended)


def test_an_error_before_it_begins_is_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """print('{"error": "no", "hint": null, "exit_code": 24}'); raise SystemExit(24)"""
    ended = Ended(24, "no", is_error=True)
    with saying(monkeypatch, program) as command:
        assert heard(command) == ([ended], ended)


@pytest.mark.parametrize(("program", "code"), [("", 1), ("raise SystemExit(9)", 9)])
def test_one_that_ends_without_a_word_has_failed(monkeypatch: pytest.MonkeyPatch, program: str, code: int) -> None:
    with saying(monkeypatch, program) as command:
        events, ended = heard(command)
    assert events == []
    assert (ended.exit_code, ended.is_error) == (code, True)
    assert ended.message == f"ktpy mesh ended with {code if program else 0} and without a word."


def test_it_tells_by_another_way_and_keeps_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.StringIO(encode(Notice("a note")) + "\n")
    with saying(monkeypatch, "print('its own')", told=lines, stdout=subprocess.PIPE) as command:
        assert list(command.events()) == [Notice("a note")]
        assert command.popen.stdout is not None
        assert command.popen.stdout.read() == b"its own\n"
