"""Each report is made in a thread, for it brings event loops of its own."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.doctor.finding import Finding, State
from ktpy.errors import NotConnected
from ktpy.kube.client import Api
from ktpy.observe.events import Notice, StartStep, encode
from ktpy.sessions import doctor, report
from ktpy.sessions.options import ConnectOptions
from ktpy.wire.route import Header, Match
from tests.unit.cluster.gateway_cases import furnish, gateway
from tests.unit.kube.api_stub import kubeconfig
from tests.unit.kube.object_store import ObjectStore

PLUGIN = {
    "command": "aws",
    "args": ["--role", "deployer-9", "--account=ac-77"],
    "env": [{"name": "AWS", "value": "xyzzy"}],
}
OTHERS = {
    "clusters": [{"name": "acme-prod", "cluster": {"server": "https://api.acme.com", "proxy-url": "http://gate:3128"}}],
    "users": [
        {"name": "arn:aws:iam::123456789012:user/alina", "user": {"username": "alina", "password": "correct horse"}},
        {"name": "by-plugin", "user": {"exec": PLUGIN}},
    ],
    "contexts": [{"name": "acme@work", "context": {"cluster": "acme-prod", "user": "alina", "namespace": "billing"}}],
}
SECRET_WORDS = (
    *(
        "alina",
        "acme",
        "acme-prod",
        "acme@work",
        "billing",
        "gate",
        "correct horse",
        "deployer-9",
        "ac-77",
        "xyzzy",
        "web",
    ),
    *("shop", "laptop7", "/srv/people/alina", "n1.rack", "203.0.114.9", "pony", "hunter2", "123456789012"),
)


@pytest.fixture
def options(store: ObjectStore, tmp_path: Path) -> ConnectOptions:
    file = Path(kubeconfig(tmp_path, store.url, {"token": "hunter2"}))
    document = json.loads(file.read_text())
    file.write_text(yaml.safe_dump(document | {key: document[key] + OTHERS[key] for key in OTHERS}))
    return ConnectOptions(str(file))


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    monkeypatch.setattr("socket.gethostname", lambda: "laptop7.lan")
    monkeypatch.setattr(RuntimeDirectory, "of", lambda _: RuntimeDirectory(tmp_path))
    return Caller(1000, 1000, "alina", Path("/srv/people/alina"))


def said(options: ConnectOptions, caller: Caller, status: Any) -> tuple[dict[str, Any], str]:
    """The report, and the texts in it."""
    found, _ = report.make(options, caller, status)
    return found, json.dumps({name: found[name] for name in report.HOLDS}, ensure_ascii=False)


async def test_no_name_and_no_secret_survives(
    monkeypatch: pytest.MonkeyPatch,
    store: ObjectStore,
    store_api: Api,
    options: ConnectOptions,
    caller: Caller,
    tmp_path: Path,
) -> None:
    furnish(store)
    await gateway(store_api, "a", "alina@laptop7", kind="mesh", match=Match((Header("x-user", "pony"),))).enter()
    told = "Server https://api.acme.com:6443 (203.0.114.9) of acme@work refuses alina: token hunter2."
    monkeypatch.setattr(
        doctor, "look", lambda *_: [Finding("API server", State.FAILED, told, "cd /srv/people/alina/x")]
    )
    lines = [
        encode(StartStep("pod", "ktpy-shadow-1: scheduled on n1.rack", 1)),
        "WEB_SERVICE_HOST of billing",
        "{broken",
    ]
    (tmp_path / "mesh-web.log").write_text("\n".join([*lines, encode(Notice("x-user: pony of ac-77"))]))
    status = {"sessions": [{"kind": "connect", "forwards": [{"target": "web", "variables": {"WEB_HOST": "gate"}}]}]}
    found, text = await asyncio.to_thread(said, options, caller, lambda: status)
    survivors = [
        one for one in SECRET_WORDS if re.search(rf"(?<![^\W_]){re.escape(one)}(?![^\W_])", text, re.IGNORECASE)
    ]
    assert survivors == []
    [web] = found["list"]["services"]
    [log] = found["logs"]["sessions"]
    assert (log["name"], log["lines"][2]) == (f"mesh-{web['name']}", "{broken")
    assert log["lines"][0]["detail"].startswith("ktpy-shadow-1: scheduled on node")
    assert found["status"]["sessions"][0]["forwards"][0]["target"] == web["name"]  # the same name everywhere


async def test_what_cannot_be_had_is_told_in_its_place(
    monkeypatch: pytest.MonkeyPatch, store: ObjectStore, caller: Caller, tmp_path: Path
) -> None:
    def break_(*_: object) -> Any:
        raise NotConnected("Nothing runs.", hint="Connect.")

    monkeypatch.setattr(doctor, "look", lambda *_: 1 / 0)
    (tmp_path / "config").write_text("{")
    found, _ = await asyncio.to_thread(said, ConnectOptions(str(tmp_path / "config")), caller, break_)
    assert found["doctor"] == {"error": "ZeroDivisionError('division by zero')", "hint": None}
    assert found["status"] == {"error": "Nothing runs.", "hint": "Connect."}
    assert " is malformed: " in found["list"]["error"]
    assert found["logs"] == {"sessions": []}
