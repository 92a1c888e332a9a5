"""The command line of `ktpy run`."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ktpy.cli import run as module
from ktpy.cli.main import cli
from ktpy.cli.mesh import match_of
from ktpy.daemon.caller import Caller
from ktpy.sessions.options import ClaimAccess, EnvironmentEdits, ExposeOption, Publish, RunOptions, WorkloadChoice


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the session would have been given."""
    found: list[Any] = []

    def perform(work: Callable[[Any], int], _show: object, _caller: object, _log: object) -> int:
        return work(lambda _event: None)

    def session(options: Any, *others: Any) -> int:
        found.append((options, others))
        return 7

    monkeypatch.setattr(module, "perform", perform)
    monkeypatch.setattr(module, "_launch", lambda mode, _caller: mode)
    monkeypatch.setattr("ktpy.sessions.run.run", session)
    monkeypatch.setattr("ktpy.sessions.run_proxied.run", session)
    return found


@pytest.mark.parametrize("mode", ["namespace", "proxy"])
def test_the_program_is_what_follows_two_hyphens(performed: list[Any], mode: str) -> None:
    done = CliRunner().invoke(
        cli, ["run", "-n", "shop", "--mode", mode, "--no-pods", "--", "curl", "-n", "http://web/"]
    )
    assert done.exit_code == 7, done.output
    [(options, _)] = performed
    assert (options.namespace, options.pods, options.capture.mode) == ("shop", False, mode)
    assert options.command == ("curl", "-n", "http://web/")


def test_without_one_the_usage_is_told(performed: list[Any]) -> None:
    done = CliRunner().invoke(cli, ["run", "-n", "shop"])
    assert done.exit_code == 2
    assert "ktpy run ... -- COMMAND" in done.output
    assert performed == []


def test_ports_to_publish(performed: list[Any]) -> None:
    done = CliRunner().invoke(cli, ["run", "--publish", "8080:80", "-p", "3000", "--no-publish", "--", "true"])
    assert done.exit_code == 7, done.output
    [(_, (of_run, *_))] = performed
    assert of_run == RunOptions((Publish(8080, 80), Publish(3000, 3000)), finds_ports=False)


@pytest.mark.parametrize("text", ["nonsense", "0", "8080:", ":80", "70000", "1:2:3", "80/udp"])
def test_what_cannot_be_published(performed: list[Any], text: str) -> None:
    done = CliRunner().invoke(cli, ["run", "--publish", text, "--", "true"])
    assert done.exit_code == 2
    assert f"{text!r} is not [LOCAL:]PORT" in done.output
    assert performed == []


def test_a_share_of_a_service(performed: list[Any]) -> None:
    words = ["--service", "web", "--exchange", "80", "--exchange", "9000:81", "--mesh", "alice"]
    done = CliRunner().invoke(cli, ["run", *words, "--", "true"])
    assert done.exit_code == 7, done.output
    [(_, (of_run, *_))] = performed
    assert of_run.service == "web"
    assert of_run.exchange == (ExposeOption(0, "80", None, "TCP"), ExposeOption(9000, "81", None, "TCP"))
    assert str(of_run.match) == str(match_of("alice", (), None))


@pytest.mark.parametrize("words", [["--service", "web"], ["--exchange", "80"], ["--mesh", "alice"]])
def test_half_of_a_share_is_none(performed: list[Any], words: list[str]) -> None:
    done = CliRunner().invoke(cli, ["run", *words, "--", "true"])
    assert done.exit_code == 2
    assert performed == []


def test_a_workload_and_what_is_to_be_otherwise_in_its_environment(performed: list[Any]) -> None:
    done = CliRunner().invoke(cli, ["run", "web.shop", "-c", "main", "-e", "A=1", "--unset", "B", "--", "true"])
    assert done.exit_code == 7, done.output
    [(options, (of_run, *_))] = performed
    assert options.namespace == "shop"
    assert of_run.workload == WorkloadChoice("web", "main")
    assert of_run.edits == EnvironmentEdits({"A": "1"}, frozenset({"B"}))


def test_the_environment_of_a_pod_that_runs(performed: list[Any]) -> None:
    assert CliRunner().invoke(cli, ["run", "web", "--from-pod", "--", "true"]).exit_code == 7
    [(_, (of_run, *_))] = performed
    assert of_run.workload == WorkloadChoice("web", from_pod=True)
    assert CliRunner().invoke(cli, ["run", "--from-pod", "--", "true"]).exit_code == 2


def test_claims_are_copied_or_kept_alike_or_not_there(performed: list[Any]) -> None:
    for volumes, code in (("copy", 7), ("none", 7), ("live", 7), ("all", 2)):
        assert CliRunner().invoke(cli, ["run", "web", "--volumes", volumes, "--", "true"]).exit_code == code
    assert CliRunner().invoke(cli, ["run", "web", "--", "true"]).exit_code == 7
    access = [of_run.claims for _, (of_run, *_) in performed]
    assert access == [ClaimAccess.COPY, ClaimAccess.NONE, ClaimAccess.LIVE, ClaimAccess.COPY]


PLAN = {
    "namespace": "shop",
    "workload": "deployment/web",
    "container": "main",
    "environment": [{"name": "PASSWORD", "source": "secret/keys, key db"}],
    "unset": ["HOST"],
    "files": [
        {"path": "/etc/app", "source": "configMap settings", "read_only": True, "is_given": True},
        {"path": "/data", "source": "hostPath", "read_only": False, "is_given": False},
    ],
    "manifest": {"kind": "Job", "metadata": {"name": "ktpy-shadow-1"}},
}


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktpy.sessions.run_plan.plan", lambda *_: PLAN)
    monkeypatch.setattr(Caller, "become", lambda: None)


def test_a_plan_is_yaml_with_comments_and_needs_no_command(performed: list[Any], planned: None) -> None:
    done = CliRunner().invoke(cli, ["run", "web", "--print-only"])
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(done.stdout) == PLAN["manifest"]
    comments = [line for line in done.stdout.splitlines() if line.startswith("#")]
    assert [line.split() for line in comments[2:]] == [
        ["#", "PASSWORD", "secret/keys,", "key", "db"],
        ["#", "Unset:", "HOST"],
        ["#", "Files:"],
        ["#", "/etc/app", "configMap", "settings,", "read-only"],
        ["#", "/data", "hostPath:", "left", "out"],
    ]
    assert performed == []


def test_a_plan_as_json(planned: None) -> None:
    done = CliRunner().invoke(cli, ["run", "web", "--print-only", "--output", "json", "--", "true"])
    assert json.loads(done.stdout) == {"schema": 1, **PLAN}
