"""Which session `ktpy watch` asks, for what, and what it makes of the answers."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli import watch
from ktpy.cli.main import cli
from ktpy.daemon import control_client
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import InterceptAbsent, SessionSilent
from ktpy.inspect.events import ReplayRefused, RequestsMissed, WatchBegun, WatchEvent, encode
from tests.kit.intercepts import EXCHANGE
from tests.kit.watched import REQUEST

WEB = replace(EXCHANGE, session="5e55")
FOUND = {Path("web.sock"): WEB, Path("other.sock"): replace(WEB, session="5e56", namespace="test")}
PAY = {Path("pay.sock"): replace(WEB, target="pay", reference="pay", session="5e57")}
BEGUN = WatchBegun("exchange", "web", "shop", "5e55", "every request", 0)
ERROR = replace(REQUEST, id=8, method="POST", path="/cart", status=503)
ALL: list[WatchEvent] = [BEGUN, REQUEST, RequestsMissed(2), ERROR]


class Sessions:
    """The sessions there are, what each would tell, and what was asked of which."""

    def __init__(self) -> None:
        self.found = FOUND | PAY
        self.events = ALL
        self.asked: list[tuple[Path, str, dict[str, Any]]] = []

    def follow(self, path: Path, verb: str, **more: Any) -> Iterator[dict[str, Any]]:
        self.asked.append((path, verb, more))
        yield from (encode(event, bodies=more["bodies"], secrets=more["secrets"]) for event in self.events)

    def watch(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["watch", *arguments])


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    found = Sessions()
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda *_: list(found.found))
    monkeypatch.setattr(control_client, "ask_status", lambda path: found.found[path])
    monkeypatch.setattr(control_client, "follow", found.follow)
    return found


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["pay"], "pay.sock"),
        (["svc/pay"], "pay.sock"),
        (["web.test"], "other.sock"),
        (["5e55"], "web.sock"),
        (["web", "--session", "5e56"], "other.sock"),
        (["--session", "5e57"], "pay.sock"),
    ],
)
def test_the_session_that_is_meant(sessions: Sessions, arguments: list[str], path: str) -> None:
    assert sessions.watch(*arguments).exit_code == 0
    assert sessions.asked == [(Path(path), "watch", {"bodies": False, "secrets": False})]


def test_the_only_session_need_not_be_named(sessions: Sessions) -> None:
    sessions.found = PAY
    assert sessions.watch().exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["web"]])
def test_two_sessions_and_none_named(sessions: Sessions, arguments: list[str]) -> None:
    done = sessions.watch(*arguments)
    assert (done.exit_code, sessions.asked) == (2, [])
    assert done.stderr.splitlines()[-1] == (
        "Error: Name one by TARGET or --session. You have: pay (session 5e57), web (session 5e55), web (session 5e56)."
    )


@pytest.mark.parametrize(
    ("arguments", "said"), [(["db"], "of db"), (["--session", "1"], "with session 1"), (["web.x"], "of web.x")]
)
def test_a_session_that_is_not_there(sessions: Sessions, arguments: list[str], said: str) -> None:
    done = sessions.watch(*arguments)
    assert done.exit_code == InterceptAbsent.exit_code
    assert done.stderr.splitlines()[0] == f"error: You have no intercept {said} on this laptop."


def test_no_session(sessions: Sessions) -> None:
    sessions.found = {}
    done = sessions.watch()
    assert done.exit_code == InterceptAbsent.exit_code
    assert done.stderr.splitlines() == [
        "error: You have no intercept on this laptop.",
        "hint: ktpy exchange, mesh, preview or tap begins one.",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--status", "7xx"], "'7xx' is no status"),
        (["--method", "G;T"], "'G;T' is no method"),
        (["--path", "api"], "'api' is no path"),
        (["--har", "/nowhere/x.har"], "The folder of /nowhere/x.har is not there"),
        (["--replay", "1", "--curl"], "--replay sends one request"),
        (["--curl", "-o", "json"], "--curl prints commands, not JSON"),
        (["--replay", "x"], "'x' is not a valid integer"),
    ],
)
def test_options_that_are_none(sessions: Sessions, arguments: list[str], said: str) -> None:
    done = sessions.watch("pay", *arguments)
    assert (done.exit_code, sessions.asked) == (2, [])
    assert said in done.stderr


@pytest.mark.parametrize(("target", "code"), [("pay", 0), ("web", 71)])
def test_one_that_does_not_answer_is_named_and_keeps_no_other(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, target: str, code: int
) -> None:
    def ask(path: Path) -> Any:
        if path not in PAY:
            raise SessionSilent("Process 7 has not answered.")
        return PAY[path]

    monkeypatch.setattr(control_client, "ask_status", ask)
    done = sessions.watch(target)
    assert (done.exit_code, "Process 7 has not answered." in done.stderr) == (code, True)


def test_a_line_for_each_request(sessions: Sessions) -> None:
    done = sessions.watch("pay")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Watching exchange of web")
    assert [line.split()[-2:] for line in (lines[2], lines[4])] == [["GET", "/api?x=1"], ["POST", "/cart"]]
    assert "2 requests are not shown" in lines[3]
    assert done.stderr == "The session has ended.\n"


@pytest.mark.parametrize("arguments", [["--method", "post"], ["--path", "/cart"], ["--status", "5xx,404"]])
def test_filters(sessions: Sessions, arguments: list[str]) -> None:
    done = sessions.watch("pay", *arguments)
    assert ("/api" in done.stdout, "/cart" in done.stdout) == (False, True)


def test_json(sessions: Sessions) -> None:
    objects = [json.loads(line) for line in sessions.watch("pay", "-o", "json").stdout.splitlines()]
    assert [one["kind"] for one in objects] == ["watching", "request", "missed", "request"]
    assert {one["schema"] for one in objects} == {1}
    assert (objects[1]["id"], objects[1]["answer"]["body"]) == (7, None)


@pytest.mark.parametrize("option", ["--body", "--curl"])
def test_bodies_are_asked_for_when_they_are_shown(sessions: Sessions, option: str) -> None:
    sessions.watch("pay", option, "--secrets")
    assert sessions.asked[0][2] == {"bodies": True, "secrets": True}


def test_an_archive_has_what_was_shown(sessions: Sessions, tmp_path: Path) -> None:
    done = sessions.watch("pay", "--har", str(tmp_path / "x.har"), "--status", "5xx")
    entries = json.loads((tmp_path / "x.har").read_text())["log"]["entries"]
    assert [one["response"]["status"] for one in entries] == [503]
    assert done.stderr.splitlines()[-1] == f"1 requests are in {tmp_path / 'x.har'}."


def test_ctrl_c_ends_it_well(sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **more: Any) -> Iterator[dict[str, Any]]:
        yield from sessions.follow(*arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(control_client, "follow", interrupted)
    done = sessions.watch("pay", "--har", str(tmp_path / "x.har"))
    assert done.exit_code == 0
    assert len(json.loads((tmp_path / "x.har").read_text())["log"]["entries"]) == 2


def test_a_replay(sessions: Sessions) -> None:
    sessions.events = [REQUEST, replace(REQUEST, status=500)]
    done = sessions.watch("pay", "--replay", "7")
    assert sessions.asked == [(Path("pay.sock"), "replay", {"bodies": True, "secrets": False, "id": 7})]
    assert "status           200         500" in done.stdout
    assert "the same" in done.stdout


def test_a_replay_as_json(sessions: Sessions) -> None:
    sessions.events = [REQUEST, replace(REQUEST, status=500)]
    found = json.loads(sessions.watch("pay", "--replay", "7", "-o", "json").stdout)
    assert (found["kind"], found["first"]["status"], found["again"]["status"]) == ("replay", 200, 500)
    assert found["first"]["answer"]["body"] is None


def test_a_replay_of_what_is_not_kept(sessions: Sessions) -> None:
    sessions.events = [ReplayRefused("There is no request 9: none was watched yet.")]
    done = sessions.watch("pay", "--replay", "9")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[0] == "error: There is no request 9: none was watched yet."


@pytest.mark.parametrize(
    ("arguments", "is_drawn"),
    [
        ([], True),
        (["--status", "5xx", "--secrets"], True),
        (["--plain"], False),
        (["--headers"], False),
        (["--body"], False),
        (["--curl"], False),
        (["--har", "/tmp/x.har"], False),
        (["-o", "json"], False),
    ],
)
def test_a_terminal_gets_a_full_screen_view_unless_an_option_asks_for_what_is_printed(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, arguments: list[str], is_drawn: bool
) -> None:
    drawn: list[tuple[Path, str, bool]] = []
    sessions.events = []
    monkeypatch.setattr(watch, "_is_terminal", lambda: True)
    monkeypatch.setattr(watch, "_view", lambda path, choice, secrets: drawn.append((path, str(choice), secrets)))
    assert sessions.watch("pay", *arguments).exit_code == 0
    assert drawn == ([(Path("pay.sock"), *(("5xx", True) if arguments else ("", False)))] if is_drawn else [])


def test_a_page_is_served_of_what_is_chosen(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[str, str, bool]] = []
    monkeypatch.setattr(watch, "_is_terminal", lambda: True)
    monkeypatch.setattr(
        watch, "_serve", lambda _, choice, output, secrets: served.append((str(choice), output, secrets))
    )
    assert sessions.watch("pay", "--web", "--path", "/a", "-o", "json").exit_code == 0
    assert served == [("/a", "json", False)]
    for option in (["--plain"], ["--headers"], ["--body"], ["--curl"], ["--har", "/tmp/x.har"], ["--replay", "0"]):
        done = sessions.watch("pay", "--web", *option)
        assert (done.exit_code, len(served)) == (2, 1)
        assert "--web goes with --method" in done.stderr
