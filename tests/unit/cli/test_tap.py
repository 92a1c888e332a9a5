from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli import tap as module
from ktpy.cli.main import cli
from ktpy.sessions.options import ExposeOption, Header, Match


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    performed: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(module, "perform", lambda kind, **options: performed.append((kind, options)))
    return performed


def test_all_requests_or_a_share_of_those_that_match(performed: list[tuple[str, dict[str, Any]]]) -> None:
    for words in (
        ["--to", "3001"],
        ["-e", "3001:80", "--percent", "10", "--header", "a=b", "--path-prefix", "/api", "-d"],
    ):
        done = CliRunner().invoke(cli, ["tap", "web", *words])
        assert done.exit_code == 0, done.output
    (kind, every), (_, some) = performed
    assert (kind, every["target"], every["expose"]) == ("tap", "web", (ExposeOption(3001),))
    assert (every["match"], every["copied_percent"], some["copied_percent"], some["detach"]) == (None, 100, 10, True)
    assert some["match"] == Match((Header("a", "b"),), "/api")


@pytest.mark.parametrize(
    "words", [[], ["--to", "x"], ["--to", "3001", "--percent", "0"], ["--to", "1", "--percent", "5.5"]]
)
def test_bad_input_performs_nothing(performed: list[tuple[str, dict[str, Any]]], words: list[str]) -> None:
    done = CliRunner().invoke(cli, ["tap", "web", *words])
    assert (done.exit_code, performed) == (2, [])
