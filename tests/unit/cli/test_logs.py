import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.observe.events import Ended, Notice, StartStep, encode

command = importlib.import_module("ktpy.cli.logs")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RuntimeDirectory:
    runtime = RuntimeDirectory(tmp_path)
    monkeypatch.setattr(RuntimeDirectory, "of", lambda _: runtime)
    return runtime


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["logs", *arguments])


def test_events_are_shown_as_the_session_would_and_other_lines_as_they_are(runtime: RuntimeDirectory) -> None:
    lines = [encode(StartStep("pod", "started", 0.5)), "WARNING \x1b[2J odd", encode(Notice("Port 1 is down."))]
    lines.append(encode(Ended(40, "Silent.", is_error=True)))
    runtime.log("connect").write_text("\n".join(lines) + "\n")
    done = run("connect")
    assert done.stdout.splitlines() == [
        "  pod       started (0.50 s)",
        "WARNING \N{REPLACEMENT CHARACTER}[2J odd",
        "  note      Port 1 is down.",
    ]
    assert done.stderr == "error: Silent.\n"
    assert run().stdout == done.stdout


def test_json_has_events_and_other_lines(runtime: RuntimeDirectory) -> None:
    runtime.log("connect").write_text(f"{encode(Notice('One.'))}\nWARNING odd\n")
    assert [json.loads(line) for line in run("connect", "-o", "json").stdout.splitlines()] == [
        {"schema": 1, "kind": "notice", "text": "One."},
        {"schema": 1, "kind": "text", "text": "WARNING odd"},
    ]


def test_an_absent_log(runtime: RuntimeDirectory) -> None:
    assert (run().exit_code, run().stderr) == (62, "error: There is no log of a session in the background.\n")
    runtime.log("connect").write_text("")
    assert run("mesh-web").stderr.splitlines() == [
        "error: There is no log of session mesh-web.",
        "hint: There are: connect.",
    ]


def test_follow_shows_what_comes(runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    log = runtime.log("connect")
    log.write_text(f"{encode(Notice('One.'))}\n")

    def sleep(_: float) -> None:
        if "Two." in log.read_text():
            raise KeyboardInterrupt
        with log.open("a") as more:
            more.write(f"{encode(Notice('Two.'))}\n")

    monkeypatch.setattr(command.time, "sleep", sleep)
    done = run("connect", "-f")
    assert (done.exit_code, done.stdout) == (130, "  note      One.\n  note      Two.\n")
