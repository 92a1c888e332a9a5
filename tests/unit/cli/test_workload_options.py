import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ktpy.cli.workload_options import environment_edits, named


@click.command()
@environment_edits
def command(**edits: object) -> None:
    click.echo(json.dumps(edits))


def edits(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(command, arguments).output)


def test_what_the_user_wants_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# none\n\nA=1\n  B=x=y z\nC=\n")
    assert edits("--env-file", str(file))["env_file"] == {"A": "1", "B": "x=y z", "C": ""}
    assert edits("-e", "A=", "--env", "B=c", "--unset", "D") == {
        "env": {"A": "", "B": "c"},
        "env_file": {},
        "unset": ["D"],
    }


@pytest.mark.parametrize("arguments", [("--env", "A"), ("--env", "=x"), ("--env-file", "/nowhere/file")])
def test_what_is_no_assignment(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == 2


def test_a_workload_with_its_namespace() -> None:
    assert named("web.shop", None) == ("web", "shop")
    assert named("svc/web.shop", None) == ("service/web", "shop")
    assert named("deploy/web", "shop") == ("deploy/web", "shop")
    with pytest.raises(click.UsageError, match="contradict"):
        named("web.shop", "other")
