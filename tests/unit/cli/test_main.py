"""How an error reaches the user: its sentence, its hint, its exit code."""

import json

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


def test_a_line_from_outside_does_not_begin_one_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise Forbidden("You may not:\nerror: forged")

    monkeypatch.setattr(privileged, "undo_stale_journals_unasked", refuse)
    shown = run("status", "-vv").stderr
    assert "forged" in shown
    assert not any(line.startswith("error: forged") for line in shown.splitlines())


def test_version() -> None:
    assert run("--version").output == f"ktpy, version {__version__}\n"


def test_every_command_has_a_line_of_help() -> None:
    groups = run("--help").output.partition("Begin here:\n")[2].partition("\nOptions:\n")[0]
    listed = [line.split() for line in groups.splitlines() if line.startswith("  ")]
    assert [words[0] for words in listed] == list(cli.commands)
    assert all(len(words) > 2 for words in listed)


def test_a_newcomer_finds_where_to_begin() -> None:
    assert list(cli.commands)[:3] == ["connect", "run", "mesh"]


@pytest.mark.parametrize("name", [name for name in cli.commands if name not in ("completion", "help")])
def test_every_help_has_an_example_and_no_type_for_a_metavar(name: str) -> None:
    told = run(name, "--help").output
    assert f"  ktpy {name}" in told or f"  sudo ktpy {name}" in told
    assert not any(word in told for word in (" TEXT ", "RANGE]  ", "INTEGER", "FLOAT"))
    assert run("help", name).output == told.replace("cli ", "ktpy ", 1) or run("help", name).output == told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["intercept", "web"], "`ktpy mesh` those that carry a header."),
        (["disconnect"], "`ktpy quit` ends what connect began"),
        (["exchange", "web", "--port", "3001:80"], "`--expose LOCAL[:REMOTE]` names the ports."),
        (["watch", "web", "--port", "80"], "Error: No such option '--port'."),
        (["list", "-A"], "`--namespace NAME` chooses one namespace."),
        (["status", "--json"], "`--output json` prints JSON."),
        (["exchange", "catalog", "web", "-e", "3001:80"], "If it is a command, say: cli exchange catalog ... -- web"),
    ],
)
def test_what_other_tools_call_it(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, sentence in done.stderr) == (2, True), done.stderr


def test_verbosity_may_stand_before_the_command() -> None:
    assert "Traceback" in run("-vv", "status").stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "error"),
    [
        (["status", "-o", "json"], Forbidden.exit_code, "You may not."),
        (["exchange", "web", "--output=json"], 2, "Missing option '--expose'"),
        (["list", "-A", "-o", "json"], 2, "No such option -A"),
        (["--bogus", "list", "-o", "json"], 2, "No such option '--bogus'"),
    ],
)
def test_with_json_an_error_is_an_object(arguments: list[str], exit_code: int, error: str) -> None:
    done = run(*arguments)
    assert done.exit_code == exit_code
    [told] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (told["schema"], told["exit_code"]) == (1, exit_code)
    assert told["error"].startswith(error)


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(privileged, "undo_stale_journals_unasked", interrupt)
    done = run("status")
    assert (done.exit_code, done.stderr) == (130, "Interrupted.\n")


@pytest.mark.parametrize("columns", [44, 51, 80])
def test_help_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("connect", "--help").output
    options = shown[shown.index("Options:") :]
    assert max(map(len, options.splitlines())) <= columns
