"""Whose arguments are whose."""

import pytest

from tests.lab.cli import split_command


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
