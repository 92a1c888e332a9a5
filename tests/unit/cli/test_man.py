import click
import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli


@pytest.fixture
def page() -> str:
    return CliRunner().invoke(cli, ["help", "--man"]).stdout


def commands(group: click.Group, prefix: str) -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[f"{prefix} {name}"] = command
        found |= commands(command, f"{prefix} {name}") if isinstance(command, click.Group) else {}
    return found


@pytest.mark.parametrize(("name", "command"), commands(cli, "ktpy").items())
def test_every_command_with_all_of_its_options(page: str, name: str, command: click.Command) -> None:
    section = page.partition(f".SS {name} ")[2].partition(".SS")[0].replace("\\-", "-")
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert {opt for one in options for opt in one.opts} <= set(section.replace(",", " ").split())


def test_examples_stay_as_they_are(page: str) -> None:
    assert ".nf\nsudo ktpy connect \\-n shop\ncurl http://web/ " in page
    assert "\b" not in page


def test_no_line_of_text_is_read_as_a_request(page: str) -> None:
    known = (".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi")
    assert all(line.startswith(known) for line in page.splitlines() if line.startswith((".", "'")))
