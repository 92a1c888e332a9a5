import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.daemon import background
from ktpy.daemon.caller import Caller
from ktpy.observe.events import Ended, Event, Notice, Report

ENDED = Ended(24, "No pod.")


CALLER = Caller(uid=4_000_000_000, gid=4_000_000_000, name="al", home=Path())


def fail(report: Report) -> int:
    report(ENDED)
    return ENDED.exit_code


def test_in_the_foreground_the_exit_code_is_the_works() -> None:
    shown: list[Event] = []
    assert background.perform(fail, shown.append, CALLER, None) == 24
    assert shown == [ENDED]


def test_what_cannot_be_shown_does_not_keep_the_work_from_its_end() -> None:
    done: list[str] = []

    def work(report: Report) -> int:
        report(Notice("deleting the job ..."))
        done.append("the job is deleted")
        report(ENDED)
        return 0

    def show(event: Event) -> None:
        raise OSError(errno.EIO, "the terminal was closed")

    assert background.perform(work, show, CALLER, None) == 0
    assert done == ["the job is deleted"]


@pytest.mark.parametrize(("last", "exit_code"), [(ENDED, 24), (Notice("It stands."), 0)])
def test_in_the_background_events_are_shown_until_it_stands_or_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: Event, exit_code: int
) -> None:
    logs: list[Path] = []

    def detach(_work: object, log: Path) -> Iterator[Event]:
        logs.append(log)
        yield last

    monkeypatch.setattr(background, "detach", detach)
    shown: list[Event] = []
    assert background.perform(fail, shown.append, CALLER._replace(home=tmp_path), "exchange-web") == exit_code
    assert shown == [last]
    assert [log.name for log in logs] == ["exchange-web.log"]
    assert logs[0].parent.is_dir()
