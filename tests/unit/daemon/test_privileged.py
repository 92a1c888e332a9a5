"""What a killed run left on the laptop, and who gets to undo it."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.daemon import privileged
from ktpy.daemon.caller import Caller
from ktpy.errors import HelperFailed, PrivilegeMissing
from ktpy.helper import journal, replay
from ktpy.helper.protocol import Undone

UNDONE = Undone(journal_id="ab12", undone=("link ktpy0",), left=(), failures=())

CALLER = Caller(uid=1000, gid=1000, name="al", home=Path())


@dataclass
class Machine:
    """A laptop on which something was left, and a helper that undoes it."""

    left: list[Any]
    undone: Undone = UNDONE
    uid: int = 0
    refusal: Exception | None = None
    launched: list[Sequence[str] | None] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def launch(self, prefix: Sequence[str] | None = None) -> str:
        self.launched.append(prefix)
        return "helper"

    def recover(self, helper: str) -> tuple[Undone, ...]:
        assert helper == "helper"
        if self.refusal is not None:
            raise self.refusal
        return (self.undone,)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine([SimpleNamespace(left=("link ktpy0", "route 10.96.0.0/12"))])
    monkeypatch.setattr(journal, "stale", lambda: machine.left)
    monkeypatch.setattr(privileged, "launch", machine.launch)
    monkeypatch.setattr(replay, "recover", machine.recover)
    monkeypatch.setattr("os.geteuid", lambda: machine.uid)
    return machine


def test_what_is_left_is_undone_and_told(machine: Machine) -> None:
    assert privileged.undo_stale_journals(machine.said.append)
    assert machine.launched == [None]  # which asks for a password
    assert machine.said == ["An earlier ktpy was killed: undone: link ktpy0."]


def test_no_helper_is_launched_for_nothing(machine: Machine) -> None:
    machine.left = []
    assert not privileged.undo_stale_journals(machine.said.append)
    privileged.undo_stale_journals_unasked(machine.said.append)
    assert not machine.launched
    assert not machine.said


def test_what_cannot_be_undone_is_told_before_the_failure(machine: Machine) -> None:
    machine.undone = Undone(journal_id="ab12", undone=(), left=(), failures=("link ktpy0: busy",))
    with pytest.raises(HelperFailed, match="Not everything could be undone"):
        privileged.undo_stale_journals(machine.said.append)
    assert machine.said == ["An earlier ktpy was killed: failed: link ktpy0: busy."]


@pytest.mark.parametrize(("uid", "prefix"), [(0, ()), (1000, ("sudo", "-n", "--"))])
def test_unasked_no_password_is_wanted(machine: Machine, uid: int, prefix: Sequence[str]) -> None:
    machine.uid = uid
    privileged.undo_stale_journals_unasked(machine.said.append)
    assert machine.launched == [prefix]
    assert machine.said == ["An earlier ktpy was killed: undone: link ktpy0."]


def test_what_would_need_a_password_is_told_as_left(machine: Machine) -> None:
    machine.refusal = PrivilegeMissing("No.")
    privileged.undo_stale_journals_unasked(machine.said.append)
    left = "link ktpy0, route 10.96.0.0/12"
    assert machine.said == [f"An earlier ktpy was killed and left: {left}. `sudo ktpy clean` undoes it."]


def test_the_helper_of_a_session_is_launched_before_root_is_given_up(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(_: Caller) -> None:
        assert machine.launched == [None]
        machine.said.append("dropped")

    machine.uid = 0
    monkeypatch.setattr(Caller, "drop_privileges", drop)
    helper: Any = privileged.launch_helper(Caller(uid=0, gid=0, name="al", home=Path()), machine.said.append)
    assert helper == "helper"
    assert machine.said == ["dropped"]


def test_the_helper_that_stands_by_is_not_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.uid = 1000
    monkeypatch.setattr(privileged, "is_standing_by", lambda: True)
    helper: Any = privileged.launch_helper(CALLER, machine.said.append)
    assert (helper, machine.launched, machine.said) == ("helper", [None], [])


class Sudo:
    """Each launch is a helper that starts, or a sudo that refuses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *starts: bool) -> None:
        self.course: list[str] = []
        self._starts = list(starts)
        monkeypatch.setattr(privileged, "launch", self._launch)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/sudo")

    def _launch(self, prefix: Sequence[str] | None = None) -> Any:
        self.course.append("without a password" if prefix else "with a password")
        starts = self._starts.pop(0)
        refusal = PrivilegeMissing("sudo refuses")
        return SimpleNamespace(is_started=lambda: starts, close=lambda: None, failure=lambda: refusal)

    def launch_helper(self) -> None:
        privileged.launch_helper(CALLER, lambda _: self.course.append("why"))


def test_where_sudo_wants_no_password_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = Sudo(monkeypatch, True)
    sudo.launch_helper()
    assert sudo.course == ["without a password"]


def test_why_a_password_is_asked_for_is_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = Sudo(monkeypatch, False, True)
    sudo.launch_helper()
    assert sudo.course == ["without a password", "why", "with a password"]


def test_ctrl_c_at_the_prompt_waits_until_sudo_has_left_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    Sudo(monkeypatch)
    course: Iterator[bool | KeyboardInterrupt] = iter([False, KeyboardInterrupt(), True])

    def is_started() -> bool:
        if isinstance(found := next(course), KeyboardInterrupt):
            raise found
        return found

    monkeypatch.setattr(privileged, "launch", lambda *_: SimpleNamespace(is_started=is_started, close=lambda: None))
    with pytest.raises(KeyboardInterrupt):
        privileged.launch_helper(CALLER, lambda _: None)
    assert list(course) == []


def test_a_refusal_of_sudo_ends_it_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrivilegeMissing, match="sudo refuses"):
        Sudo(monkeypatch, False, False).launch_helper()
