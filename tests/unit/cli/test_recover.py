"""What `ktpy recover` says; what it does: tests/unit/cluster/changes/test_recover.py."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from ktpy.cluster.changes.recover import RecoveredSelector
from ktpy.daemon.caller import Caller
from ktpy.sessions import once


@pytest.mark.parametrize(
    ("recovered", "words"),
    [
        (None, "Service web needs nothing: ktpy has no part in it.\n"),
        (
            RecoveredSelector({"app": "web", "tier": "a"}, "the service itself"),
            "Service web selects app=web,tier=a again, as found in the service itself.\n",
        ),
    ],
)
@pytest.mark.parametrize("evict", [False, True])
def test_what_it_says(
    monkeypatch: pytest.MonkeyPatch, recovered: RecoveredSelector | None, words: str, evict: bool
) -> None:
    asked: list[tuple[once.ClusterRef, str, bool]] = []

    def recover(place: once.ClusterRef, service: str, *, evict: bool) -> RecoveredSelector | None:
        asked.append((place, service, evict))
        return recovered

    monkeypatch.setattr(once, "recover", recover)
    monkeypatch.setattr(Caller, "current", lambda: Caller(1000, 1000, "al", Path()))
    monkeypatch.setattr(Caller, "drop_privileges", lambda _: None)
    for named in (["web", "-n", "shop"], ["svc/web", "-n", "shop"], ["web.shop"]):
        done = CliRunner().invoke(cli, ["recover", *named, *(["--evict"] if evict else [])])
        assert (done.exit_code, done.output) == (0, words)
        assert asked.pop() == (once.ClusterRef(namespace="shop"), "web", evict)


@pytest.mark.parametrize("arguments", [["deploy/web"], ["a/b/c"], ["web.shop", "-n", "test"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["recover", *arguments]).exit_code == 2


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "recover", lambda *_, **__: RecoveredSelector({"app": "web"}, "the service itself"))
    monkeypatch.setattr(Caller, "current", lambda: Caller(1000, 1000, "al", Path()))
    monkeypatch.setattr(Caller, "drop_privileges", lambda _: None)
    told = json.loads(CliRunner().invoke(cli, ["recover", "web", "-o", "json"]).output)
    assert told == {
        "schema": 1,
        "service": "web",
        "recovered": {"selector": {"app": "web"}, "source": "the service itself"},
    }
