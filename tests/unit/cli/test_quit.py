import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon import control_client, privileged
from ktpy.daemon.runtime import CONNECT, RuntimeDirectory
from ktpy.errors import SessionSilent
from ktpy.observe.status import ConnectStatus


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sessions that were asked to end. The first and second of this user run."""
    ended: list[Path] = []
    sockets = {CONNECT: [Path("a"), Path("b")]}
    monkeypatch.setattr(privileged, "undo_stale_journals_unasked", lambda say: None)
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda _, kind: sockets[kind])
    monkeypatch.setattr(control_client, "ask_status", status)
    monkeypatch.setattr(control_client, "quit_session", ended.append)
    return ended


def status(path: Path) -> ConnectStatus:
    server, name = f"https://{path}", "east" if path.name == "b" else None
    return ConnectStatus(
        name=name, pid=7, server=server, context="lab", namespace="shop", state="connected", uptime_s=1.0
    )


def run(*options: str) -> Result:
    return CliRunner().invoke(cli, ["quit", *options])


def test_every_session_is_ended(asked: list[Path]) -> None:
    done = run()
    assert done.exit_code == 0
    assert done.stdout == (
        "Disconnected from https://a; routes and resolver are as before.\n"
        "Disconnected from https://b; routes and resolver are as before.\n"
    )
    assert asked == [Path("a"), Path("b")]


def test_one_by_its_name(asked: list[Path]) -> None:
    assert run("--name", "east").stdout == "Disconnected from https://b; routes and resolver are as before.\n"
    assert asked == [Path("b")]
    done = run("--name", "west")
    assert (done.exit_code, done.stdout) == (0, "Not connected as west: there is nothing to quit.\n")
    assert run("--name", "").stdout == "Not connected as '': there is nothing to quit.\n"


def test_one_that_does_not_answer_keeps_no_other(asked: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(path: Path) -> ConnectStatus:
        if path.name == "a":
            raise SessionSilent("Process 7 has not answered.", hint="Kill it.")
        return status(path)

    monkeypatch.setattr(control_client, "ask_status", silent)
    done = run()
    assert (done.exit_code, asked) == (71, [Path("b")])
    assert done.stderr.endswith("error: Process 7 has not answered.\nhint: Kill it.\n")


def test_nothing_to_quit(asked: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda *_: [])
    done = run()
    assert (done.exit_code, done.stdout) == (0, "Not connected: there is nothing to quit.\n")


def test_json(asked: list[Path]) -> None:
    assert json.loads(run("-o", "json").stdout) == {"schema": 1, "disconnected": ["https://a", "https://b"]}
