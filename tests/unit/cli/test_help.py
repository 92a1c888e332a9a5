"""`ktpy help`: the same as --help."""

from click.testing import CliRunner

from ktpy.cli.main import cli


def test_without_a_command_it_is_that_of_all() -> None:
    assert CliRunner().invoke(cli, ["help"]).output == CliRunner().invoke(cli, ["--help"]).output


def test_of_a_command_there_is_not() -> None:
    assert CliRunner().invoke(cli, ["help", "bogus"]).exit_code == 2
