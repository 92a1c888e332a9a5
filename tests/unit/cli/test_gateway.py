"""What `ktpy gateway` says; what it does: tests/unit/sessions/test_gateway.py."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.sessions import gateway
from ktpy.sessions.options import KEEP, AppProtocol, ExposeOption, InterceptOptions

SINCE = "2026-11-28T11:00:00Z"


def session(owner: str, description: str = "keeps the gateway", **more: Any) -> dict[str, Any]:
    is_keeper = description == "keeps the gateway"
    return {
        "owner": owner,
        "description": description,
        "is_keeper": is_keeper,
        "is_live": True,
        "local_down": [],
        "since": SINCE,
        **more,
    }


def found(*sessions: dict[str, Any], **more: Any) -> dict[str, Any]:
    shown = {"service": "web", "namespace": "shop", "image": "agent:1", "is_redirected": True}
    return {**shown, "sessions": list(sessions), **more}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What the use cases were asked for."""
    monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", tmp_path))
    return []


def run(monkeypatch: pytest.MonkeyPatch, asked: list[Any], answer: dict[str, Any], *arguments: str) -> Result:
    def use(*given: Any) -> dict[str, Any]:
        asked.append(given)
        return answer

    monkeypatch.setattr(gateway, arguments[0], use)
    done = CliRunner().invoke(cli, ["gateway", *arguments])
    assert done.exit_code == 0, done.output
    return done


def test_keeping(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    answer = found(session("al@a"), is_new=True, wanted_image="agent:1")
    done = run(monkeypatch, asked, answer, "keep", "web.shop", "--http-port", "8080", "--replicas", "2")
    assert done.output == "The gateway of web stays until `ktpy gateway release web`.\n"
    wanted: InterceptOptions = asked[0][0]
    assert (wanted.kind, wanted.target, wanted.namespace, wanted.replicas) == (KEEP, "web", "shop", 2)
    assert (wanted.expose, wanted.protocol) == ((ExposeOption(0, "8080"),), AppProtocol.HTTP)


def test_one_that_is_kept_already_and_is_older(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    answer = found(session("bo@b"), is_new=False, wanted_image="agent:2")
    assert run(monkeypatch, asked, answer, "keep", "deployment/web").output.splitlines() == [
        f"The gateway of web is kept already, by bo@b since {SINCE}.",
        "It runs agent:1, and this ktpy has agent:2: `ktpy gateway release web`, then `keep`, makes it anew.",
    ]
    assert (asked[0][0].target, asked[0][0].expose, asked[0][0].protocol) == ("deployment/web", (), None)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            found(released=[session("bo@b")]),
            [f"The gateway of web is not kept any more; it was by bo@b since {SINCE}.", "web is as before."],
        ),
        (
            found(session("al@a", "exchange of port 80"), released=[session("bo@b")]),
            [
                f"The gateway of web is not kept any more; it was by bo@b since {SINCE}.",
                "It stays until they have left who intercept web: al@a.",
            ],
        ),
        (found(released=[]), ["Nobody keeps the gateway of web."]),
    ],
)
def test_releasing(monkeypatch: pytest.MonkeyPatch, asked: list[Any], answer: dict[str, Any], told: list[str]) -> None:
    assert run(monkeypatch, asked, answer, "release", "web").output.splitlines() == told


def test_who_shares_it(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    dead = session("cy@c", "", is_live=False)
    answer = found(session("bo@b"), session("al@a", "mesh of port 80, VERSION: blue"), dead, is_redirected=False)
    assert run(monkeypatch, asked, answer, "who", "web").output.splitlines() == [
        "gateway of web, namespace shop: agent:1",
        "Service web does not lead to it: somebody has applied it as it was, or deleted it.",
        f"  bo@b since {SINCE}: keeps the gateway",
        f"  al@a since {SINCE}: mesh of port 80, VERSION: blue",
        f"  cy@c since {SINCE}: unknown (dead; ktpy clean removes it)",
    ]


def test_nobody_shares_it(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    told = run(monkeypatch, asked, found(), "who", "web").output
    assert told == "Nobody intercepts web, or keeps a gateway before it.\n"


@pytest.mark.parametrize("command", ["keep", "release", "who"])
def test_json(monkeypatch: pytest.MonkeyPatch, asked: list[Any], command: str) -> None:
    done = run(monkeypatch, asked, found(), command, "web", "--output", "json")
    assert json.loads(done.output) == {"schema": 1, **found()}
