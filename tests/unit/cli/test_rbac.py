"""What `ktpy rbac` prints."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from ktpy.cluster.rbac import manifest
from ktpy.daemon.caller import Caller
from ktpy.sessions import once


@pytest.fixture(autouse=True)
def as_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Caller, "drop_privileges", lambda _: None)


@pytest.mark.parametrize("chosen", [(), ("intercept",), ("run",), ("dev",), ("intercept", "run")])
def test_the_rights_of_a_user(chosen: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, ["rbac", "shop", "alice", *(f"--{name}" for name in chosen)])
    assert (done.exit_code, done.output) == (0, manifest("shop", "alice", **dict.fromkeys(chosen, True)))


def test_without_a_user_the_cluster_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once.ClusterRef, "run", lambda *_: "bob")
    assert CliRunner().invoke(cli, ["rbac", "shop"]).output == manifest("shop", "bob")


def test_without_a_kubeconfig_a_user_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert CliRunner().invoke(cli, ["rbac", "shop", "alice"]).exit_code == 0
    assert CliRunner().invoke(cli, ["rbac", "shop"]).exit_code == 10
