import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.errors import KtpyError
from ktpy.sessions import report as session

DOCUMENT = {
    "ktpy": "1",
    "doctor": {"findings": [{}, {}]},
    "status": {"sessions": [], "ended": []},
    "list": {"error": "It is away.", "hint": None},
    "logs": {"sessions": [{}]},
}


@pytest.fixture
def in_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", tmp_path))
    monkeypatch.setattr(session, "make", lambda *_: (DOCUMENT, Counter(user=2, host=1)))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["report", *arguments])


def test_it_says_what_the_file_holds_and_that_nothing_was_sent(in_folder: Path) -> None:
    done = run("bug.json")
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [
            "bug.json holds, with the versions of ktpy, Python and the system:",
            "  doctor    findings: 2",
            "  status    sessions: 0",
            "  list      could not be had: It is away.",
            "  logs      sessions: 1",
            "Names have stand-ins in it (host: 1, user: 2), and secrets are removed.",
            "Nothing was sent. Read it before you hand it on.",
        ],
    )
    file = in_folder / "bug.json"
    assert json.loads(file.read_text()) == {"schema": 1, **DOCUMENT}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_json(in_folder: Path) -> None:
    told = json.loads(run("-o", "json").stdout)
    [file] = in_folder.iterdir()
    assert told == {
        "schema": 1,
        "file": file.name,
        "holds": {"doctor": 2, "status": 0, "list": None, "logs": 1},
        "replaced": {"user": 2, "host": 1},
    }


def test_a_file_that_is_there_stays_as_it_is(in_folder: Path) -> None:
    (in_folder / "bug.json").write_text("mine")
    done = run("bug.json")
    assert (done.exit_code, "bug.json cannot be made: File exists." in done.stderr) == (2, True)
    assert (in_folder / "bug.json").read_text() == "mine"
    assert run("absent/bug.json").exit_code == 2


def test_nothing_is_left_of_a_report_that_fails(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise KtpyError("It is broken.")

    monkeypatch.setattr(session, "make", fail)
    assert run("bug.json").exit_code == 1
    assert list(in_folder.iterdir()) == []
