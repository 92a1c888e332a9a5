import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon import control_client, privileged
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import KtpyError
from ktpy.observe.status import ConnectStatus, SessionStatus

CONNECTED = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=3.2)
OTHER = ConnectStatus(pid=8, server="https://b", context="far", namespace="shop", state="connected", uptime_s=1.0)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[SessionStatus]:
    """What runs: each session behind a control socket of its own."""
    running: list[SessionStatus] = []
    monkeypatch.setattr(privileged, "undo_stale_journals_unasked", lambda say: None)
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda _: [Path(str(n)) for n in range(len(running))])
    monkeypatch.setattr(control_client, "ask_status", lambda path: running[int(path.name)])
    return running


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["status", *arguments])


def test_nothing_runs(sessions: list[SessionStatus]) -> None:
    assert run().output == "Not connected. `sudo ktpy connect` connects.\n"
    assert json.loads(run("--output", "json").output) == {"sessions": []}


def test_each_session_is_shown(sessions: list[SessionStatus]) -> None:
    sessions += [CONNECTED, OTHER]
    heads = [line for line in run().output.splitlines() if not line.startswith(" ")]
    assert heads == ["connected to lab (https://a)", "connected to far (https://b)"]


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
    assert json.loads(done.stdout) == {"sessions": []}
