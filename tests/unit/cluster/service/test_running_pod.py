from collections.abc import Sequence
from typing import Any

import pytest

from ktpy.cluster.names import MANAGED_BY
from ktpy.cluster.service import running_pod as module
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.running_pod import running_pod
from ktpy.cluster.service.workload import Workload
from ktpy.errors import TargetAbsent, TargetUnsuitable
from ktpy.kube.client import Api
from tests.unit.kube.object_store import PODS, ObjectStore

SPEC: dict[str, Any] = {"containers": [{"name": "main"}]}
LABELS = {"app": "web"}
WEB = Workload(Reference("deployment", "web"), {"metadata": {"labels": LABELS}, "spec": SPEC})
ENVIRON = {"/proc/1/environ": b"PATH=/app/bin\0A=script\0", "/proc/self/environ": b"PATH=/app/bin\0A=image\0"}


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What files of containers hold."""
    told = dict(ENVIRON)

    async def output_of(_api: Api, _pod: str, container: str, command: Sequence[str]) -> bytes:
        program, file = command
        assert (program, container) == ("cat", "main")
        if file not in told:
            raise TargetUnsuitable("Permission denied")
        return told[file]

    monkeypatch.setattr(module, "output_of", output_of)
    return told


def put(store: ObjectStore, name: str, created: str, *, is_ready: bool = True, **more: Any) -> None:
    conditions = [{"type": "Ready", "status": str(is_ready)}]
    state: dict[str, Any] = {"running": {}} if more.pop("runs", True) else {"waiting": {}}
    store.put(
        PODS,
        {
            "metadata": {"name": name, "labels": more.pop("labels", LABELS), "creationTimestamp": created},
            "spec": SPEC | more,
            "status": {"conditions": conditions, "containerStatuses": [{"name": "main", "state": state}]},
        },
    )


async def test_it_is_the_newest_that_is_ready(store: ObjectStore, store_api: Api) -> None:
    put(store, "old", "2030-01-01T00:00:00Z")
    put(store, "new", "2030-01-02T00:00:00Z")
    put(store, "newer", "2030-01-03T00:00:00Z", is_ready=False)
    put(store, "newest", "2030-01-04T00:00:00Z", runs=False)
    put(store, "shadow", "2030-01-05T00:00:00Z", labels=LABELS | {MANAGED_BY: "ktpy"})
    put(store, "other", "2030-01-05T00:00:00Z", labels={"app": "other"})
    found = await running_pod(store_api, WEB, None)
    assert (found.name, found.environment) == ("new", {"PATH": "/app/bin", "A": "script"})


async def test_a_pod_is_itself(store: ObjectStore, store_api: Api) -> None:
    put(store, "web-0", "2030-01-01T00:00:00Z")
    pod = store.get(PODS, "web-0")
    assert pod
    assert (await running_pod(store_api, Workload(Reference("pod", "web-0"), pod), "main")).name == "web-0"


async def test_where_the_first_process_tells_nothing_it_is_what_a_new_one_gets(
    store: ObjectStore, store_api: Api, told: dict[str, bytes]
) -> None:
    put(store, "web-0", "2030-01-01T00:00:00Z", shareProcessNamespace=True)
    assert (await running_pod(store_api, WEB, None)).environment["A"] == "image"
    put(store, "web-0", "2030-01-01T00:00:00Z")
    del told["/proc/1/environ"]
    assert (await running_pod(store_api, WEB, None)).environment["A"] == "image"
    told.clear()
    with pytest.raises(TargetUnsuitable, match="Container main does not tell its environment: Permission denied"):
        await running_pod(store_api, WEB, None)


async def test_none_runs(store: ObjectStore, store_api: Api) -> None:
    put(store, "web-0", "2030-01-01T00:00:00Z", runs=False)
    with pytest.raises(TargetAbsent, match="no pod whose container main runs"):
        await running_pod(store_api, WEB, None)
    with pytest.raises(TargetUnsuitable, match="no labels"):
        await running_pod(store_api, Workload(Reference("cronjob", "web"), {"spec": SPEC}), None)
