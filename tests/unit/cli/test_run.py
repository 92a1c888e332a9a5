"""The command line of `ktpy run`."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli import run as module
from ktpy.cli.main import cli


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the session would have been given."""
    found: list[Any] = []

    def perform(work: Callable[[Any], int], _show: object, _caller: object, _log: object) -> int:
        return work(lambda _event: None)

    def session(options: Any, *_: object) -> int:
        found.append(options)
        return 7

    monkeypatch.setattr(module, "perform", perform)
    monkeypatch.setattr(module, "_launch", lambda mode, _caller: mode)
    monkeypatch.setattr("ktpy.sessions.run.run", session)
    monkeypatch.setattr("ktpy.sessions.connect.run", session)
    return found


@pytest.mark.parametrize("mode", ["namespace", "proxy"])
def test_the_program_is_what_follows_two_hyphens(performed: list[Any], mode: str) -> None:
    done = CliRunner().invoke(
        cli, ["run", "-n", "shop", "--mode", mode, "--no-pods", "--", "curl", "-n", "http://web/"]
    )
    assert done.exit_code == 7, done.output
    [options] = performed
    assert (options.namespace, options.pods, options.capture.mode) == ("shop", False, mode)
    assert options.command == ("curl", "-n", "http://web/")


def test_without_one_the_usage_is_told(performed: list[Any]) -> None:
    done = CliRunner().invoke(cli, ["run", "-n", "shop"])
    assert done.exit_code == 2
    assert "ktpy run ... -- COMMAND" in done.output
    assert performed == []
