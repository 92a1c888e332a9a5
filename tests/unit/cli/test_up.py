"""What `ktpy up` says, and with which code it ends."""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli import up_entries
from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.observe.events import Ended
from ktpy.sessions import up as use_case
from ktpy.sessions.up import NONE, RESTART, START, Entry, Outcome, Step
from tests.kit.intercepts import EXCHANGE

WEB = Step(START, "exchange-web", "exchange")
FAILED = Outcome(replace(WEB, name="mesh-web"), failure=Ended(54, "Bob has it.", "Ask Bob.", is_error=True))
AGAIN = Outcome(replace(WEB, change=RESTART, name="forward-db", reason="it is told otherwise now"))
STAYS = Outcome(replace(WEB, change=NONE, name="connect"))


class Asked:
    """What the use case was asked for. It fakes that, and the file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.outcomes: list[Outcome] = []
        self.names: tuple[str, ...] = ()
        self.is_dry = False
        self.wanted: list[str] = []
        self.file = folder / "team/ktpy.yaml"
        self.file.parent.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", folder))
        monkeypatch.setattr(up_entries, "read", self._read)
        monkeypatch.setattr(use_case, "up", self._up)

    def _read(self, _cli: Any, file: Path, *_: Any) -> list[Entry]:
        assert (file, Path.cwd()) == (self.file, self.file.parent)
        return [Entry("mesh", "mesh-web", (), ""), Entry("connect", "connect", (), "", is_wanted=False)]

    def _up(
        self, entries: list[Entry], file: Path, _c: Any, tell: Any, names: tuple[str, ...], *, is_dry: bool
    ) -> Iterator[Outcome]:
        self.names, self.is_dry, self.wanted = names, is_dry, [one.name for one in entries if one.is_wanted]
        if self.outcomes and not is_dry:
            tell("mesh-web", "Mind\nthis.")
        yield from self.outcomes

    def by(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["up", "-f", str(self.file), *arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    return Asked(monkeypatch, tmp_path)


def test_what_was_begun_and_what_failed(asked: Asked) -> None:
    asked.outcomes = [STAYS, Outcome(WEB, EXCHANGE), FAILED, AGAIN]
    done = asked.by("mesh-web")
    assert (done.exit_code, asked.names, asked.is_dry) == (54, ("mesh-web",), False)
    assert done.stdout.splitlines() == [
        "unchanged     connect",
        "started       exchange-web",
        "  exchange of web in namespace shop of lab",
        "restarted     forward-db (it is told otherwise now)",
    ]
    assert done.stderr.splitlines() == [
        "  note      mesh-web: Mind this.",
        "error: mesh-web: Bob has it.",
        "hint: Ask Bob.",
    ]


def test_a_dry_run_and_nothing_to_do(asked: Asked) -> None:
    asked.outcomes = [STAYS, AGAIN]
    assert asked.by("--dry-run").stdout.splitlines()[1] == "would restart forward-db (it is told otherwise now)"
    asked.outcomes = [STAYS]
    assert asked.by().stdout.splitlines() == ["unchanged     connect", "Everything stands; nothing was changed."]
    asked.outcomes = []
    assert "names nothing to begin" in asked.by().stdout


def test_json(asked: Asked) -> None:
    asked.outcomes = [STAYS, FAILED]
    done = asked.by("-o", "json")
    one = {"name": "connect", "kind": "exchange", "change": "none", "reason": None, "failure": None}
    failure = {"error": "Bob has it.", "hint": "Ask Bob.", "exit_code": 54}
    assert done.exit_code == 54
    assert json.loads(done.stdout) == {
        "schema": 1,
        "file": str(asked.file),
        "dry_run": False,
        "entries": [one, one | {"name": "mesh-web", "change": "start", "failure": failure}],
    }


def test_what_is_named_is_begun_whatever_its_profiles(asked: Asked) -> None:
    asked.by("mesh-web")
    assert asked.wanted == ["mesh-web"]
    asked.by("connect")
    assert asked.wanted == ["mesh-web", "connect"]


def test_a_folder_that_is_closed(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "chdir", refuse)  # root may enter any
    done = asked.by()
    assert (done.exit_code, "cannot be entered: Permission denied." in done.stderr) == (2, True)


def test_wrong_names_and_the_schema(asked: Asked) -> None:
    done = asked.by("mesh-wep")
    assert (done.exit_code, "mesh-web is meant?" in done.stderr) == (2, True)
    assert json.loads(asked.by("--schema").stdout)["title"] == "ktpy.yaml"
