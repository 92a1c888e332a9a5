import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ktpy import __version__
from ktpy.cli.main import cli
from ktpy.daemon import control_client
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.observe.status import ConnectStatus

STATUS = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=3.2)


def test_both_sides_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda *_: [Path("s")])
    monkeypatch.setattr(control_client, "ask_status", lambda _: replace(STATUS, pod="ktpy-x", agent="0.0.9"))
    told = CliRunner().invoke(cli, ["version"]).output
    assert told == f"ktpy {__version__}\nagent 0.0.9 in pod ktpy-x of lab\n"
    agents = json.loads(CliRunner().invoke(cli, ["version", "-o", "json"]).output)["agents"]
    assert agents == [{"context": "lab", "pod": "ktpy-x", "version": "0.0.9"}]
