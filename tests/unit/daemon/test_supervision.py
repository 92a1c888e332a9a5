"""What a session's surroundings do for it, with sessions that are none."""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from ktpy.daemon import supervision
from ktpy.daemon.time_limit import TimeLimit
from ktpy.errors import LinkLost
from ktpy.observe.events import Ended, Event


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """A session that has ended leaves Ctrl-C ignored: its process ends, too."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


class Trial:
    """A session that does what it is given to do."""

    name = "trial"
    farewell = "Over."

    def __init__(self, *, ends_well: bool = True) -> None:
        self.ends_well = ends_well

    async def run(self) -> int:
        return 0

    def handles_signal(self, signal_number: int) -> bool:
        return signal_number != signal.SIGHUP


def outcome(session: Trial) -> Ended:
    """The one event that it reports."""
    events: list[Event] = []
    code = supervision.run(session, events.append)
    [ended] = events
    assert isinstance(ended, Ended)
    assert ended.exit_code == code
    return ended


def test_a_session_that_ends_as_asked() -> None:
    assert outcome(Trial()) == Ended(0, "Over.")


@pytest.mark.parametrize(("ends_well", "exit_code"), [(True, 0), (False, 128 + signal.SIGTERM)])
def test_a_signal(ends_well: bool, exit_code: int) -> None:
    class Waiting(Trial):
        async def run(self) -> int:
            os.kill(os.getpid(), signal.SIGHUP)  # not for it
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.get_running_loop().create_future()
            return 0

    assert outcome(Waiting(ends_well=ends_well)).exit_code == exit_code


def test_a_second_signal_is_for_nobody() -> None:
    """Ctrl-C is for a program of the session's, which others depend on until all is undone."""
    asked: list[int] = []

    class Undoing(Trial):
        def handles_signal(self, signal_number: int) -> bool:
            asked.append(signal_number)
            return True

        async def run(self) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(1)
            return 0

    assert outcome(Undoing()) == Ended(0, "Over.")
    assert asked == [signal.SIGTERM]


def test_a_session_whose_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting(Trial):
        def handles_signal(self, signal_number: int) -> bool:
            return signal_number == signal.SIGHUP

        async def run(self) -> int:
            theirs.close()
            await asyncio.get_running_loop().create_future()
            return 0

    ours, theirs = socket.socketpair()
    monkeypatch.setattr(supervision, "parent", lambda: ours)
    with ours:
        assert outcome(Waiting()) == Ended(0, "Over.")


@pytest.mark.parametrize(("ends_well", "exit_code"), [(True, 0), (False, 124)])
def test_a_session_whose_time_is_over(ends_well: bool, exit_code: int) -> None:
    class Waiting(Trial):
        async def run(self) -> int:
            await asyncio.get_running_loop().create_future()
            return 0

    events: list[Event] = []
    assert supervision.run(Waiting(ends_well=ends_well), events.append, TimeLimit(0.01)) == exit_code
    assert events == [Ended(exit_code, "0.01s of --for are over. Over.")]


def test_a_session_that_ends_before_its_time_is_over() -> None:
    events: list[Event] = []
    assert supervision.run(Trial(), events.append, TimeLimit(3600)) == 0
    assert events == [Ended(0, "Over.")]


def test_ctrl_c_after_the_end_changes_nothing() -> None:
    heard: list[Event] = []

    def report(event: Event) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        heard.append(event)

    assert supervision.run(Trial(), report) == 0
    assert heard == [Ended(0, "Over.")]


def test_the_first_of_what_failed_together_is_the_cause_and_the_log_has_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "ktpy")

    class Failing(Trial):
        async def run(self) -> int:
            raise ExceptionGroup("", [ExceptionGroup("", [LinkLost("Gone.", hint="Again.")]), ValueError("later")])

    assert outcome(Failing()) == Ended(40, "Gone.", "Again.", is_error=True)
    assert [repr(record.exc_info[1]) for record in caplog.records if record.exc_info and record.exc_info[1]] == [
        "ValueError('later')",
        "LinkLost('Gone.')",
    ]


def test_a_failure_that_ktpy_cannot_explain() -> None:
    class Failing(Trial):
        async def run(self) -> int:
            raise ValueError("7")

    ended = outcome(Failing())
    assert ended.exit_code == 1
    assert "ValueError('7')" in ended.message
    assert "-vv" in (ended.hint or "")


def test_complaints_of_the_loop_are_for_debugging(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    class Careless(Trial):
        async def run(self) -> int:
            asyncio.get_running_loop().create_future().set_exception(ValueError("nobody asks"))
            return 0

    with caplog.at_level(logging.DEBUG, "ktpy"):
        outcome(Careless())
    [complaint] = [record for record in caplog.records if "never retrieved" in record.message]
    assert (complaint.levelno, complaint.name) == (logging.DEBUG, "ktpy.daemon.supervision")
    assert complaint.exc_info
    assert "nobody asks" not in capfd.readouterr().err


def test_garbage_is_looked_for_once_it_has_started_but_not_among_what_the_imports_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Looking(Trial):
        async def run(self) -> int:
            await asyncio.sleep(0.001)
            return int(not (gc.isenabled() and gc.get_freeze_count() > frozen))

    monkeypatch.setattr(supervision, "COLLECTING_AFTER_S", 0.0)
    gc.disable()
    frozen = gc.get_freeze_count()
    try:
        assert outcome(Looking()).exit_code == 0
    finally:
        gc.enable()
