"""What `ktpy down` ends, and what it leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import SessionSilent
from ktpy.observe.status import SessionStatus, UpEntry
from tests.kit.intercepts import EXCHANGE

paths: list[Path] = []
"""The control sockets that there are."""


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The sockets of those that were asked to end."""
    asked: list[str] = []
    file = str(tmp_path / "ktpy.yaml")
    sessions: dict[Path, SessionStatus] = {
        Path("web"): replace(EXCHANGE, up=UpEntry(file, "exchange-web", "1")),
        Path("pay"): replace(EXCHANGE, up=UpEntry(file, "exchange-pay", "2")),
        Path("other"): replace(EXCHANGE, up=UpEntry("/other/ktpy.yaml", "exchange-other", "3")),
        Path("own"): replace(EXCHANGE, reference="own"),
    }
    paths.clear()
    paths.extend(sessions)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", tmp_path))
    monkeypatch.setattr(RuntimeDirectory, "of", lambda _: RuntimeDirectory(tmp_path / "run"))
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda _, kind="*": list(paths) if kind == "*" else [])

    def ask(path: Path) -> SessionStatus:
        if path.name.endswith(".sock"):
            raise SessionSilent("Process 7 has not answered.")
        return sessions[path]

    monkeypatch.setattr(control_client, "ask_status", ask)
    monkeypatch.setattr(control_client, "quit_session", lambda path, _: asked.append(path.name))
    return asked


def run(*arguments: str, exit_code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["down", *arguments])
    assert done.exit_code == exit_code, done.output
    return done


def test_what_up_began_for_this_file_ends_and_the_rest_is_told(ended: list[str]) -> None:
    assert run().stdout.splitlines() == [
        "ended         exchange-web",
        "ended         exchange-pay",
        "What goes on: exchange-other, exchange-own. `ktpy status` shows it.",
    ]
    assert sorted(ended) == ["pay", "web"]


def test_by_name_and_as_json(ended: list[str], tmp_path: Path) -> None:
    told = json.loads(run("exchange-pay", "-o", "json").stdout)
    assert ended == ["pay"]
    assert told["left"] == [
        {"name": "exchange-web", "file": str(tmp_path / "ktpy.yaml")},
        {"name": "exchange-other", "file": "/other/ktpy.yaml"},
        {"name": "exchange-own", "file": None},
    ]


def test_one_that_does_not_answer_is_told_and_keeps_nothing_from_the_others(ended: list[str]) -> None:
    paths.insert(0, Path("intercept.5e55.sock"))
    paths.append(Path("run.5e56.sock"))
    run("exchange-pay")
    done = run(exit_code=71)
    assert done.stdout.splitlines()[:2] == ["ended         exchange-web", "ended         exchange-pay"]
    assert done.stderr == "error: intercept.5e55: Process 7 has not answered.\n"
    assert sorted(ended) == ["pay", "pay", "web"]


def test_nothing_of_that_file(ended: list[str]) -> None:
    assert "has begun nothing for" in run("-f", "absent.yaml").stdout
    assert "has begun nothing of the name exchange-wep for" in run("exchange-wep").stdout
    assert ended == []
