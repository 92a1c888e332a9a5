import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from ktpy.cli.main import cli


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ktpy.yaml").write_text("dev:\n- workload: web\n  image: golang:1.24\n")


def shown(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["dev", "config", *arguments])


def test_as_text_json_and_yaml() -> None:
    assert '  image                 ktpy.yaml:3:10: "golang:1.24"' in shown("web").output.splitlines()
    found = json.loads(shown("web", "-o", "json").output)
    assert (found["source"], found["values"][0]) == (
        "ktpy.yaml",
        {"key": "image", "value": "golang:1.24", "place": "ktpy.yaml:3:10"},
    )
    assert yaml.safe_load(shown("web", "-o", "yaml").output) == {"dev": [{"workload": "web", "image": "golang:1.24"}]}


def test_the_schema_and_wrong_use() -> None:
    assert json.loads(shown("--schema").output)["title"] == "ktpy.yaml"
    assert shown().exit_code == 2
