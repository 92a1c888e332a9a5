import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ktpy import __version__
from ktpy.cli.main import cli
from ktpy.daemon import control_client
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.observe.status import ConnectStatus
from ktpy.sessions import versions

STATUS = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=3.2)


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda *_: [Path("s")])
    monkeypatch.setattr(control_client, "ask_status", lambda _: replace(STATUS, pod="ktpy-x", agent="0.0.9"))


def test_both_sides_are_named() -> None:
    told = CliRunner().invoke(cli, ["version", "--client"]).output
    assert told.splitlines() == [
        f"ktpy {__version__}",
        f"image ghcr.io/ktpy/agent:{__version__}",
        "protocol 1, understands 0 to 2",
        "Kubernetes 1.26 to 1.37",
        "agent 0.0.9 (older than this ktpy) in pod ktpy-x of lab",
    ]
    found = json.loads(CliRunner().invoke(cli, ["version", "--client", "-o", "json"]).output)
    assert (found["schema"], found["version"], found["server"]) == (1, __version__, None)
    [agent] = found["agents"]
    assert (agent["context"], agent["pod"], agent["version"]) == ("lab", "ktpy-x", "0.0.9")


@pytest.mark.parametrize(
    ("support", "told"), [("supported", ""), ("older", ", which is too old"), ("newer", ", which is newer: not tested")]
)
def test_the_cluster_at_the_place_is_asked(monkeypatch: pytest.MonkeyPatch, support: str, told: str) -> None:
    server = {"context": "lab", "version": "v1.30.1", "support": support}
    agent = {"context": "lab", "pod": "p", "role": "gateway", "owner": "al", "image": "mine"}
    agents = [agent | {"version": None, "difference": None}]
    places: list[Any] = []
    whole = versions.versions

    def find(own: list[ConnectStatus], place: dict[str, Any]) -> dict[str, Any]:
        places.append(place)
        return whole(own, None) | {"server": server, "agents": agents, "remarks": ["No."]}

    monkeypatch.setattr(versions, "versions", find)
    lines = CliRunner().invoke(cli, ["version", "-n", "shop", "--context", "lab"]).output.splitlines()
    assert places == [{"namespace": "shop", "context": "lab", "kubeconfig": None}]
    assert lines[3:] == [
        f"Kubernetes 1.26 to 1.37; lab has v1.30.1{told}",
        "agent of image mine in pod p of lab, gateway of al",
        "No.",
    ]
