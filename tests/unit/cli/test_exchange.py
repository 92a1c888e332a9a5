from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli import exchange as module
from ktpy.cli.main import cli
from ktpy.sessions.options import ExposeOption


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    performed: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(module, "perform", lambda kind, **options: performed.append((kind, options)))
    return performed


def test_what_is_performed(performed: list[tuple[str, dict[str, Any]]]) -> None:
    done = CliRunner().invoke(cli, ["exchange", "web", "--expose", "3001:80", "--", "npm", "start"])
    assert done.exit_code == 0, done.output
    [(kind, options)] = performed
    assert (kind, options["target"], options["command"]) == ("exchange", "web", ("npm", "start"))
    assert options["expose"] == (ExposeOption(3001, "80"),)


def test_a_target_is_needed(performed: list[tuple[str, dict[str, Any]]]) -> None:
    assert CliRunner().invoke(cli, ["exchange", "--expose", "3001:80"]).exit_code == 2
    assert performed == []
