"""Options that several commands share."""

import logging
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ktpy.cli import options, pod_options
from ktpy.sessions.options import DEFAULT_IMAGE, DEFAULT_POD_TIMEOUT_S


@click.command()
@options.cluster(namespace="Where.")
@pod_options.image
@pod_options.pod_timeout
@options.output
@options.verbose
def tell(**given: object) -> None:
    click.echo(" ".join(f"{name}={given[name]}" for name in sorted(given)))


def told(*arguments: str, env: dict[str, str] | None = None) -> dict[str, str]:
    done = CliRunner().invoke(tell, arguments, env=env)
    assert done.exit_code == 0, done.output
    return dict(pair.split("=", 1) for pair in done.output.split())


def test_defaults() -> None:
    assert told() == {
        "context": "None",
        "image": DEFAULT_IMAGE,
        "kubeconfig": "None",
        "namespace": "None",
        "output": "text",
        "pod_timeout": str(DEFAULT_POD_TIMEOUT_S),
    }


def test_each_has_an_environment_variable_and_the_command_line_wins() -> None:
    env = {"KTPY_NAMESPACE": "shop", "KTPY_CONTEXT": "lab", "KTPY_KUBECONFIG": "/k", "KTPY_OUTPUT": "json"}
    given = told("--namespace", "mine", env=env | {"KTPY_IMAGE": "a:1", "KTPY_POD_TIMEOUT": "7"})
    assert given == {
        "context": "lab",
        "image": "a:1",
        "kubeconfig": "/k",
        "namespace": "mine",
        "output": "json",
        "pod_timeout": "7.0",
    }


@pytest.mark.parametrize("wrong", [["--pod-timeout", "0"], ["--output", "yaml"]])
def test_wrong_values_are_usage_errors(wrong: list[str]) -> None:
    assert CliRunner().invoke(tell, wrong).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], logging.WARNING), (["-v"], logging.INFO), (["-vv"], logging.DEBUG), (["-v", "-v", "-v"], logging.DEBUG)],
)
def test_how_much_is_logged(arguments: list[str], expected: int) -> None:
    told(*arguments)
    assert logging.getLogger("ktpy").level == expected


@pytest.mark.parametrize("timeout", ["nan", "inf", "-inf"])
def test_a_timeout_that_is_no_number_of_seconds(timeout: str) -> None:
    refused = CliRunner().invoke(tell, [f"--pod-timeout={timeout}"])
    assert refused.exit_code == 2
    assert "Invalid value for '--pod-timeout'" in refused.output


def test_a_kubeconfig_that_cannot_be_read_is_no_error_of_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert told("--kubeconfig", str(path))["kubeconfig"] == str(path)
