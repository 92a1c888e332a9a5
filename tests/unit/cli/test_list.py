"""What `ktpy list` prints; what it finds: tests/unit/sessions/test_once.py."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.sessions import once

HTTP = {"port": 80, "name": "http", "protocol": "TCP", "app_protocol": "http"}
UDP = {"port": 7, "name": "echo", "protocol": "UDP", "app_protocol": "tcp"}
BARE = {"port": 8080, "name": None, "protocol": "TCP", "app_protocol": "tcp"}


def service(
    name: str,
    ports: list[dict[str, Any]],
    *intercepts: tuple[str, str, bool],
    is_preview: bool = False,
    type_: str = "ClusterIP",
) -> dict[str, Any]:
    found = [
        {
            "session": "5e55",
            "owner": owner,
            "description": description,
            "is_live": is_live,
            "is_keeper": description == "keeps the gateway",
            "since": "2026-11-28T11:00:00Z",
            "local_down": ["80"] if owner.startswith("al@") else [],
        }
        for owner, description, is_live in intercepts
    ]
    return {"name": name, "type": type_, "ports": ports, "is_preview": is_preview, "intercepts": found}


def listed(
    monkeypatch: pytest.MonkeyPatch, home: Path, *arguments: str, services: list[dict[str, Any]], developed: Any = ()
) -> str:
    found = {"namespace": "shop", "context": "lab", "services": services, "developed": developed}
    monkeypatch.setattr(Caller, "current", lambda: Caller(1000, 1000, "al", home))
    monkeypatch.setattr(Caller, "drop_privileges", lambda _: None)
    monkeypatch.setattr(once, "services", lambda *_: found)
    done = CliRunner().invoke(cli, ["list", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_line_for_each_intercept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mesh = ("al@a", "mesh of port 80, VERSION: v", True)
    dead = ("bo@b", "", False)
    keeper = ("cy@c", "keeps the gateway", True)
    services = [service("web", [HTTP, UDP], mesh, dead, keeper), service("pay", [BARE], is_preview=True)]
    assert listed(monkeypatch, tmp_path, services=services).splitlines() == [
        "namespace shop of lab",
        "SERVICE        PORTS                     INTERCEPTS",
        "web            80 (http), 7 (echo, UDP)  al@a: mesh of port 80, VERSION: v since 2026-11-28T11:00:00Z "
        "(nothing answers on the laptop for port 80)",
        f"{'bo@b':>45}: unknown since 2026-11-28T11:00:00Z (dead; ktpy clean removes it)",
        "                                         cy@c: keeps the gateway since 2026-11-28T11:00:00Z",
        "pay (preview)  8080",
    ]


def test_what_an_exchange_does_not_take_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    services = [service("store", [BARE], type_="Headless"), service("supplier", [], type_="ExternalName")]
    assert listed(monkeypatch, tmp_path, services=services).splitlines()[2:] == [
        "store (headless)         8080",
        "supplier (another name)",
    ]


def test_a_namespace_without_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert listed(monkeypatch, tmp_path, services=[]) == "Namespace shop has no services.\n"


def test_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    services = [service("web", [HTTP])]
    printed = json.loads(listed(monkeypatch, tmp_path, "--output", "json", services=services))
    assert printed == {"schema": 1, "namespace": "shop", "context": "lab", "services": services, "developed": []}
