import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from ktpy.daemon import settings
from ktpy.daemon.settings import SettingsFile

TEXT = "namespace = 'shop'\n[connect]\nmode = 'proxy'\n"


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        SettingsFile(Path("/tmp/.ktpy.toml"), refusal="It is not this user's, but of user id 7."),
        SettingsFile(Path("/home/al/.ktpy.toml"), tomllib.loads(TEXT), TEXT),
    ]
    monkeypatch.setattr(settings, "found", lambda: there)
    monkeypatch.setenv("KTPY_MODE", "tun")
    monkeypatch.setenv("KTPY_RUN_MODE", "proxy")


def run(*arguments: str) -> list[str]:
    done = CliRunner().invoke(cli, ["config", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_what_is_set_and_where() -> None:
    refused, read, head, *rows = run()
    assert refused == "/tmp/.ktpy.toml is not read: It is not this user's, but of user id 7."
    assert (read, head.split()) == ("/home/al/.ktpy.toml", ["OPTION", "VALUE", "FROM", "COMMANDS"])
    assert [row.split()[:3] for row in rows] == [
        ["namespace", "shop", "/home/al/.ktpy.toml:1"],
        ["mode", "tun", "KTPY_MODE"],
        ["mode", "proxy", "KTPY_RUN_MODE"],
    ]
    assert "connect, run, mesh and " in rows[0]


def test_all_options_of_a_command() -> None:
    rows = [row.split() for row in run("list")[3:]]
    assert rows == [
        ["namespace", "shop", "/home/al/.ktpy.toml:1"],
        ["context", "default"],
        ["kubeconfig", "default"],
        ["output", "text", "default"],
        ["verbose", "0", "default"],
    ]


def test_json_and_a_command_of_a_group() -> None:
    found = json.loads("".join(run("dev", "list", "-o", "json")))
    assert found["files"] == [
        {"path": "/tmp/.ktpy.toml", "is_read": False, "reason": "It is not this user's, but of user id 7."},
        {"path": "/home/al/.ktpy.toml", "is_read": True, "reason": None},
    ]
    namespace = {"command": "dev list", "option": "namespace", "value": "shop", "source": "/home/al/.ktpy.toml:1"}
    assert namespace in found["values"]


def test_no_such_command_and_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(cli, ["config", "conect"]).exit_code == 2
    monkeypatch.setattr(settings, "found", list)
    assert run()[0] == "There is neither a .ktpy.toml from here upward nor a config.toml of yours."
