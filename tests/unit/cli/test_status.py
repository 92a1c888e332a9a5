import importlib
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon import control_client, privileged
from ktpy.daemon.logs import EndedSession
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import KtpyError, SessionSilent
from ktpy.observe.events import Ended
from ktpy.observe.status import ConnectStatus, SessionStatus

command = importlib.import_module("ktpy.cli.status")
"""The module: `ktpy.cli.status` is its command, too."""
CONNECTED = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=3.2)
OTHER = ConnectStatus(pid=8, server="https://b", context="far", namespace="shop", state="connected", uptime_s=1.0)


@pytest.fixture
def ended() -> list[EndedSession]:
    """What ended in the background."""
    return []


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch, ended: list[EndedSession]) -> list[SessionStatus]:
    """What runs: each session behind a control socket of its own."""
    running: list[SessionStatus] = []
    monkeypatch.setattr(privileged, "undo_stale_journals_unasked", lambda say: None)
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda _: [Path(str(n)) for n in range(len(running))])
    monkeypatch.setattr(control_client, "ask_status", lambda path: running[int(path.name)])
    monkeypatch.setattr(command, "ended_sessions", lambda *_: ended)
    return running


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["status", *arguments])


def test_nothing_runs(sessions: list[SessionStatus]) -> None:
    done = run()
    assert (done.exit_code, done.output) == (36, "Not connected. `sudo ktpy connect` connects.\n")
    assert json.loads(run("--output", "json").output) == {"schema": 1, "sessions": [], "ended": []}


def test_each_session_is_shown(sessions: list[SessionStatus]) -> None:
    sessions += [CONNECTED, OTHER]
    heads = [line for line in run().output.splitlines() if not line.startswith(" ")]
    assert heads == [
        "connected to lab (https://a), namespace shop",
        "connected to far (https://b), namespace shop",
    ]


def test_one_that_does_not_answer_keeps_nothing_from_the_others(
    sessions: list[SessionStatus], ended: list[EndedSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(path: Path) -> SessionStatus:
        if path.name == "0":
            raise SessionSilent("The session of process 7 has not answered.")
        return sessions[int(path.name)]

    sessions += [CONNECTED, OTHER]
    ended.append(EndedSession("connect", 0.0, None))  # so it seems
    monkeypatch.setattr(control_client, "ask_status", ask)
    done = run()
    assert done.exit_code == 71
    assert done.stdout.startswith("connected to far (https://b)")
    assert "killed" not in done.stdout
    assert "process 7" in done.stderr


def test_json_has_the_keys_in_their_order(sessions: list[SessionStatus]) -> None:
    sessions.append(CONNECTED)
    [session] = json.loads(run("-o", "json").output)["sessions"]
    assert list(session)[:5] == ["kind", "pid", "dns", "ranges", "pod"]
    assert (session["server"], session["bytes"]) == ("https://a", {"in": 0, "out": 0})


def test_a_session_that_does_not_answer_is_an_error(
    sessions: list[SessionStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_status(path: Path) -> SessionStatus:
        raise KtpyError("The session is busy.")

    sessions.append(CONNECTED)
    monkeypatch.setattr(control_client, "ask_status", ask_status)
    done = run()
    assert (done.exit_code, done.stderr) == (1, "error: The session is busy.\n")


def test_what_a_killed_run_left_is_undone_first_and_told_on_standard_error(
    sessions: list[SessionStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileged, "undo_stale_journals_unasked", lambda say: say("undone: link ktpy0"))
    done = run("-o", "json")
    assert done.stderr == "undone: link ktpy0\n"
    assert json.loads(done.stdout)["sessions"] == []


def test_how_a_session_in_the_background_ended(sessions: list[SessionStatus], ended: list[EndedSession]) -> None:
    ended += [
        EndedSession("connect", 1_700_000_000.0, Ended(40, "The link went silent.", is_error=True)),
        EndedSession("exchange-web", 1_700_000_000.0, None),
    ]
    lines = run().output.splitlines()
    assert re.fullmatch(
        r"connect ended \d\d:\d\d with code 40: The link went silent\. `ktpy logs connect` shows more\.", lines[0]
    )
    assert lines[1] == "exchange-web was killed. `ktpy logs exchange-web` shows more."
    told = json.loads(run("-o", "json").output)["ended"]
    assert [(one["name"], one["exit_code"]) for one in told] == [("connect", 40), ("exchange-web", None)]
