from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli import preview as module
from ktpy.cli.main import cli


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    performed: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(module, "perform", lambda kind, **options: performed.append((kind, options)))
    return performed


def test_what_is_performed(performed: list[tuple[str, dict[str, Any]]]) -> None:
    arguments = ["preview", "pay", "--expose", "3001:8080", "--ingress", "pay.example", "--ingress-class", "nginx"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    [(kind, options)] = performed
    assert (kind, options["target"]) == ("preview", "pay")
    assert (options["ingress_host"], options["ingress_class"]) == ("pay.example", "nginx")


@pytest.mark.parametrize(("variable", "option"), [("KTPY_INGRESS_CLASS", "ingress_class"), ("KTPY_GATEWAY", "gateway")])
def test_what_serves_a_host_by_default_is_no_mistake_where_there_is_none(
    performed: list[tuple[str, dict[str, Any]]], variable: str, option: str
) -> None:
    done = CliRunner().invoke(cli, ["preview", "pay", "--expose", "3001:8080"], env={variable: "edge"})
    assert done.exit_code == 0, done.output
    [(_, options)] = performed
    assert options[option] == "edge"


def test_a_class_without_an_ingress_is_refused(performed: list[tuple[str, dict[str, Any]]]) -> None:
    done = CliRunner().invoke(cli, ["preview", "pay", "--expose", "3001:8080", "--ingress-class", "nginx"])
    assert done.exit_code == 2
    assert "--ingress-class goes with --ingress HOST." in done.output
    assert performed == []
