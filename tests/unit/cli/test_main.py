"""How an error reaches the user: its sentence, its hint, its exit code."""

import pytest
from click.testing import CliRunner, Result

from ktpy import __version__
from ktpy.cli.main import cli
from ktpy.daemon import privileged
from ktpy.errors import Forbidden


@pytest.fixture(autouse=True)
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise Forbidden("You may not.", hint="Ask for:\n- get pods")

    monkeypatch.setattr(privileged, "undo_stale_journals_unasked", refuse)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_an_error_is_a_sentence_a_hint_and_an_exit_code() -> None:
    done = run("status")
    assert done.exit_code == Forbidden.exit_code
    assert (done.stdout, done.stderr) == ("", "error: You may not.\nhint: Ask for:\n      - get pods\n")


@pytest.mark.parametrize(("flag", "is_shown"), [("-v", False), ("-vv", True)])
def test_vv_shows_the_traceback(flag: str, is_shown: bool) -> None:
    done = run("status", flag)
    assert ("Traceback" in done.stderr) is is_shown
    assert done.exit_code == Forbidden.exit_code


def test_version() -> None:
    assert run("--version").output == f"ktpy, version {__version__}\n"


def test_every_command_has_a_line_of_help() -> None:
    listed = run("--help").output.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == sorted(cli.commands)
    assert all(len(line.split()) > 2 for line in listed)
