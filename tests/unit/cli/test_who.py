"""What `ktpy who` prints; what it finds: tests/unit/cluster/changes/test_who.py."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.errors import Forbidden, KtpyError
from ktpy.sessions import once

MESH = {
    "namespace": "shop",
    "kind": "mesh",
    "target": "web",
    "description": "mesh of port 80, VERSION: a",
    "owner": "al@laptop",
    "session": "5e55",
    "is_live": True,
    "since": "2026-11-28T11:00:00Z",
    "ports": [80],
    "match": None,
    "local_down": ["80"],
}
DEAD = MESH | {"namespace": "till", "kind": "connect", "target": "", "description": "connect", "is_live": False}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked, and first what is found."""
    answer: list[Any] = []

    def find(place: once.ClusterRef, service: str | None, *, all_namespaces: bool) -> tuple[Any, list[KtpyError]]:
        answer.append((place.namespace, service, all_namespaces))
        sessions, refused = answer[0]
        return {"namespace": None if all_namespaces else "shop", "context": "lab", "sessions": sessions}, refused

    monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", Path("/nowhere")))
    monkeypatch.setattr(once, "who", find)
    return answer


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["who", *arguments])


def test_a_namespace(asked: list[Any]) -> None:
    asked.append(([MESH], []))
    assert run("web", "-n", "shop").stdout.splitlines() == [
        "namespace shop of lab",
        "TARGET  WHO        SINCE                 WHAT",
        f"web     al@laptop  2026-11-28T11:00:00Z  {MESH['description']} (nothing answers on the laptop for port 80)",
    ]
    assert asked[1:] == [("shop", "web", False)]


def test_the_whole_cluster(asked: list[Any]) -> None:
    asked.append(([MESH | {"local_down": []}, DEAD], []))
    assert run("-A").stdout.splitlines() == [
        "lab",
        "NAMESPACE  TARGET  WHO        SINCE                 WHAT",
        "shop       web     al@laptop  2026-11-28T11:00:00Z  mesh of port 80, VERSION: a",
        "till               al@laptop  2026-11-28T11:00:00Z  connect (dead; ktpy clean removes it)",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Nobody does anything in namespace shop of lab by ktpy.\n"),
        (["web"], "Nobody does anything to web in namespace shop of lab by ktpy.\n"),
        (["-A"], "Nobody does anything in lab by ktpy.\n"),
    ],
)
def test_nobody(asked: list[Any], arguments: list[str], sentence: str) -> None:
    asked.append(([], []))
    assert run(*arguments).stdout == sentence


def test_where_a_right_is_missing_it_is_not_said_that_there_is_nobody(asked: list[Any]) -> None:
    asked.append(([], [Forbidden("You may not list jobs.", hint="Ask.")]))
    assert run().stdout == "Nobody who may be seen does anything in namespace shop of lab by ktpy.\n"


def test_json(asked: list[Any]) -> None:
    asked.append(([MESH], []))
    assert json.loads(run("-o", "json").stdout) == {
        "schema": 1,
        "namespace": "shop",
        "context": "lab",
        "sessions": [MESH],
    }


def test_a_right_that_is_missing_is_told_beside_what_is_seen(asked: list[Any]) -> None:
    asked.append(([MESH], [Forbidden("You may not list jobs.", hint="Ask.")]))
    done = run()
    assert done.exit_code == 0
    assert "mesh of port 80" in done.stdout
    assert done.stderr == "error: You may not list jobs.\nhint: Ask.\n"
