import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ktpy.kube.supported import NEWEST, OLDEST
from ktpy.observe.status import ConnectStatus
from ktpy.sessions import versions as module
from ktpy.sessions.versions import versions
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding, kubeconfig, listed

STATUS = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=3.2)
OWN = [replace(STATUS, pod="own", agent="0.0.9"), replace(STATUS, pod="elsewhere", agent="9.0.0", context="two")]
PODS = "/api/v1/namespaces/shop/pods"


@pytest.fixture
def place(stub: ApiStub, tmp_path: Path) -> dict[str, str | None]:
    return {"kubeconfig": kubeconfig(tmp_path, stub.url), "context": None, "namespace": None}


def pod(name: str, image: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "ktpy", "ktpy.dev/role": "gateway", "ktpy.dev/owner": "al"}
    spec = {"containers": [{"name": "agent", "image": image}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"phase": "Running"}}


def test_no_cluster_is_asked_without_a_place(stub: ApiStub) -> None:
    found = versions((), None)
    assert found == {
        "version": found["version"],
        "image": f"ghcr.io/ktpy/agent:{found['version']}",
        "protocol": {"version": 1, "oldest": 0, "newest": 2},
        "kubernetes": {"oldest": OLDEST, "newest": NEWEST},
        "server": None,
        "agents": [],
        "remarks": [],
    }
    agents = versions(OWN, None)["agents"]
    assert [(one["context"], one["pod"], one["version"], one["difference"]) for one in agents] == [
        ("lab", "own", "0.0.9", "older"),
        ("two", "elsewhere", "9.0.0", "newer"),
    ]
    assert not stub.asked


def test_agents_of_the_namespace_and_what_they_have_told(stub: ApiStub, place: dict[str, str | None]) -> None:
    stub.script("GET /version", Answer({"gitVersion": f"v{NEWEST}.1"}))
    stub.script(f"GET {PODS}", listed(pod("own", "mine"), pod("theirs", "ghcr.io/ktpy/agent:0.2.0")))
    found = versions(OWN, place)
    assert found["server"] == {"context": "stub", "version": f"v{NEWEST}.1", "support": "supported"}
    assert [
        (one["context"], one["pod"], one["role"], one["version"], one["difference"]) for one in found["agents"]
    ] == [
        ("stub", "own", "gateway", "0.0.9", "older"),
        ("stub", "theirs", "gateway", "0.2.0", "newer"),
        ("two", "elsewhere", "shadow", "9.0.0", "newer"),
    ]
    assert found["remarks"] == []


def test_what_the_cluster_does_not_say_is_a_remark(
    stub: ApiStub, place: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.script("GET /version", Answer({"gitVersion": "v1.20.0"}))
    stub.script(f"GET {PODS}", forbidding())
    found = versions((), place)
    assert (found["server"]["support"], len(found["remarks"])) == ("older", 1)
    assert "pods" in found["remarks"][0]
    wrongs: tuple[dict[str, str | None], ...] = ({"kubeconfig": "/absent"}, {"context": "absent"})
    for wrong in wrongs:
        assert versions((), place | wrong)["remarks"][0].endswith(("/absent.", "absent."))

    async def hang(_: object) -> list[object]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr("ktpy.cluster.changes.agents.find", hang)
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    assert versions((), place)["remarks"] == ["The API server did not answer within 0.01 s."]
