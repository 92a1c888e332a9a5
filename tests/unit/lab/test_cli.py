"""Whose arguments are whose, and which there are."""

import re
import shlex

import pytest

from tests.kit.inline_commands import ROOT, given_to
from tests.lab.cli import parser, split_command


@pytest.mark.parametrize(
    ("line", "own", "command"),
    [
        ("up", "up", ""),
        ("--name two up", "--name two up", ""),
        ("up --name two", "up --name two", ""),
        ("exec -- ls -l", "exec", "ls -l"),
        ("exec ls -l", "exec", "ls -l"),
        ("--name two exec --user dev -- sudo ktpy connect", "--name two exec --user dev", "sudo ktpy connect"),
        ("exec --user=dev --name two ktpy --user x", "exec --user=dev --name two", "ktpy --user x"),
        ("exec --laptop 3 --user dev -- ls", "exec --laptop 3 --user dev", "ls"),
        ("exec -- -- x", "exec", "-- x"),
        ("exec --help", "exec --help", ""),
        ("kubectl -n shop get pods --name x", "kubectl", "-n shop get pods --name x"),
        ("kubectl --help", "kubectl", "--help"),
        ("kubectl exec web -- ls", "kubectl", "exec web -- ls"),
        ("node ip -br address", "node", "ip -br address"),
        ("--name kubectl status", "--name kubectl status", ""),
        ("", "", ""),
    ],
)
def test_split_command(line: str, own: str, command: str) -> None:
    assert split_command(line.split()) == (own.split(), command.split())


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--help"])
    assert "laptop" in capsys.readouterr().out


def test_it_takes_what_the_documents_give_it() -> None:
    rows = re.findall(r"^\| [^|]* \| (`--[^|]*) \|", (ROOT / "docs/compatibility.md").read_text(), re.MULTILINE)
    labs = [shlex.split(one) for row in rows for one in re.findall(r"`([^`]+)`", row)]
    assert len(labs) > 5
    for told in [*(["up", *one] for one in labs), *(one for one in given_to("lab") if one and one != ("--help",))]:
        parser().parse_args(told)
