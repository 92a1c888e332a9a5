import click
import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli

PAGE = CliRunner().invoke(cli, ["help", "--man"]).stdout


@pytest.mark.parametrize("name", cli.commands)
def test_every_command_with_all_of_its_options(name: str) -> None:
    section = PAGE.partition(f".SS ktpy {name} ")[2].partition(".SS")[0].replace("\\-", "-")
    options = [one for one in cli.commands[name].params if isinstance(one, click.Option)]
    assert {opt for one in options for opt in one.opts} <= set(section.replace(",", " ").split())


def test_examples_stay_as_they_are() -> None:
    assert ".nf\nsudo ktpy connect \\-n shop\ncurl http://web/ " in PAGE
    assert "\b" not in PAGE


def test_no_line_of_text_is_read_as_a_request() -> None:
    known = (".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi")
    assert all(line.startswith(known) for line in PAGE.splitlines() if line.startswith((".", "'")))
