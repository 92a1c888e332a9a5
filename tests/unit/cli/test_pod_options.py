from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ktpy.cli.pod_options import pod_template


def overlay_of(*arguments: str, env: dict[str, str] | None = None) -> Any:
    asked: list[Any] = []

    @click.command()
    @pod_template
    def command(pod_overlay: dict[str, Any]) -> None:
        asked.append(pod_overlay)

    done = CliRunner().invoke(command, arguments, env=env)
    return asked[0] if done.exit_code == 0 else (done.exit_code, done.output)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pod.yaml"
    path.write_text(
        "metadata: {labels: {team: shop}}\nspec: {nodeSelector: {zone: a}, imagePullSecrets: [{name: x}]}\n"
    )
    return path


def test_without_any() -> None:
    assert overlay_of() == {}


def test_all_of_them_are_one_overlay(file: Path) -> None:
    arguments = ["--pod-overlay", str(file), "--node-selector", "disk=ssd,zone=b", "--pull-secret", "y"]
    assert overlay_of(*arguments) == {
        "metadata": {"labels": {"team": "shop"}},
        "spec": {"nodeSelector": {"zone": "b", "disk": "ssd"}, "imagePullSecrets": [{"name": "x"}, {"name": "y"}]},
    }


def test_from_the_environment(file: Path) -> None:
    env = {"KTPY_POD_OVERLAY": str(file), "KTPY_PULL_SECRET": "y", "KTPY_NODE_SELECTOR": "disk=ssd"}
    overlay = overlay_of(env=env)
    assert overlay["spec"]["imagePullSecrets"] == [{"name": "x"}, {"name": "y"}]
    assert overlay["spec"]["nodeSelector"] == {"zone": "a", "disk": "ssd"}


@pytest.mark.parametrize("text", ["", "a", "spec: 1", "containers: []", "a: b: c"])
def test_a_file_that_is_no_template(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(text)
    exit_code, _ = overlay_of("--pod-overlay", str(path))
    assert exit_code == 2


@pytest.mark.parametrize("arguments", [["--pod-overlay", "/none"], ["--node-selector", "disk"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert overlay_of(*arguments)[0] == 2
