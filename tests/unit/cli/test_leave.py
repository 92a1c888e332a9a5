"""Which of this user's intercepts `ktpy leave` ends, and what it says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from ktpy.daemon import control_client
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import InterceptAbsent, SessionSilent
from ktpy.observe.status import ConnectStatus, SessionStatus
from tests.kit.intercepts import EXCHANGE

ALL = "Left: forward of all services."
WEB = replace(EXCHANGE, kind="mesh", reference="deployment/web", session="5e55")
PAY = replace(WEB, kind="preview", reference="pay", target="pay", session="5e56", namespace="test")
DB = ConnectStatus(
    kind="forward",
    reference="service/db",
    pid=8,
    server="https://a",
    context="lab",
    namespace="shop",
    state="connected",
    uptime_s=1.0,
)
FOUND: dict[Path, SessionStatus] = {
    Path("intercept.web"): WEB,
    Path("intercept.pay"): PAY,
    Path("forward.db"): DB,
    Path("forward.all"): replace(DB, reference=None),
}


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sessions that were asked to end."""
    asked: list[Path] = []
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda _, kind: [one for one in FOUND if one.stem == kind])
    monkeypatch.setattr(control_client, "ask_status", FOUND.__getitem__)
    monkeypatch.setattr(control_client, "quit_session", lambda path, _: asked.append(path))
    return asked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["web"], ["Left: mesh of web."]),
        (["deployment/web"], ["Left: mesh of web."]),
        (["deploy/web"], ["Left: mesh of web."]),
        (["svc/web"], ["Left: mesh of web."]),
        (["service/pay"], ["Left: preview of pay."]),
        (["web.shop"], ["Left: mesh of web."]),
        (["web", "pay"], ["Left: mesh of web.", "Left: preview of pay."]),
        (["-n", "test"], ["Left: preview of pay."]),
        (["5e56"], ["Left: preview of pay."]),
        (["db"], ["Left: forward of service/db."]),
        (["forward-service-db", "forward-all"], ["Left: forward of service/db.", "Left: forward of all services."]),
        (["--all", "-n", "test"], ["Left: preview of pay."]),
        (["--all"], ["Left: mesh of web.", "Left: preview of pay.", "Left: forward of service/db.", ALL]),
    ],
)
def test_what_is_meant_is_left(left: list[Path], arguments: list[str], said: list[str]) -> None:
    done = CliRunner().invoke(cli, ["leave", *arguments])
    assert done.stdout.splitlines() == said
    assert [line.replace("Leaving", "Left").replace(" ...", ".") for line in done.stderr.splitlines()] == said
    assert len(left) == len(said)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["web"], ["Left: mesh of web."], 0),
        (["--all", "-n", "shop"], ["Left: mesh of web.", "Left: forward of service/db.", ALL], 71),
        (["pay"], [], 71),
    ],
)
def test_a_session_that_does_not_answer_keeps_nothing_from_others(
    left: list[Path], arguments: list[str], said: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(path: Path) -> SessionStatus:
        if FOUND[path] is PAY:
            raise SessionSilent("The session of process 7 has not answered.")
        return FOUND[path]

    monkeypatch.setattr(control_client, "ask_status", ask)
    done = CliRunner().invoke(cli, ["leave", *arguments])
    assert (done.stdout.splitlines(), done.exit_code) == (said, code)
    assert ("process 7" in done.stderr) == (code == 71)


@pytest.mark.parametrize("arguments", [["x"], ["web", "-n", "test"], ["web.test"], ["db.test"], ["deploy/db", "web"]])
def test_what_is_not_there(left: list[Path], arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, ["leave", *arguments])
    assert (done.exit_code, left) == (InterceptAbsent.exit_code, [])
    assert done.stderr.splitlines() == [
        f"error: You have no intercept or forward of {arguments[0]} on this laptop.",
        "hint: You have: all services, pay, service/db, web.",
    ]


@pytest.mark.parametrize("arguments", [[], ["web", "--all"], ["a/b/c"]])
def test_wrong_usage(left: list[Path], arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, ["leave", *arguments])
    assert (done.exit_code, left) == (2, [])


def test_without_a_target_all_there_are_are_named(left: list[Path]) -> None:
    assert "You have: all services, pay, service/db, web." in CliRunner().invoke(cli, ["leave"]).stderr


def test_nothing_to_leave_is_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda *_: [])
    done = CliRunner().invoke(cli, ["leave", "--all"])
    assert (done.exit_code, done.stdout) == (
        0,
        "You have no intercept or forward on this laptop: there is nothing to leave.\n",
    )


def test_json(left: list[Path]) -> None:
    done = CliRunner().invoke(cli, ["leave", "web", "-o", "json"])
    one = {"kind": "mesh", "target": "web", "namespace": "shop", "context": "lab", "session": "5e55"}
    assert json.loads(done.stdout) == {"schema": 1, "left": [one]}
