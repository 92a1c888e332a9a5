from typing import Any

from ktpy.cluster.service.pod_addresses import FRESH_S, PodAddresses
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.workload import Workload
from ktpy.kube.client import Api
from tests.unit.kube.object_store import PODS, ObjectStore

LABELS = {"app": "web"}
WEB = Workload(Reference("deployment", "web"), {"metadata": {"labels": LABELS}})


def put(store: ObjectStore, name: str, address: str | None, *, is_ready: bool = True) -> None:
    status: dict[str, Any] = {"podIP": address, "conditions": [{"type": "Ready", "status": str(is_ready)}]}
    store.put(PODS, {"metadata": {"name": name, "labels": LABELS}, "status": status})


async def test_they_are_those_of_the_ready_pods_and_asked_for_once_a_second(store: ObjectStore, store_api: Api) -> None:
    now_s = 10.0
    addresses = PodAddresses(store_api, WEB, lambda: now_s)
    put(store, "web-1", "10.244.0.1")
    put(store, "web-2", "10.244.0.2", is_ready=False)
    put(store, "web-3", None)
    assert await addresses.now() == ["10.244.0.1"]
    put(store, "web-4", "10.244.0.4")
    assert await addresses.now() == ["10.244.0.1"]
    now_s += FRESH_S
    assert set(await addresses.now()) == {"10.244.0.1", "10.244.0.4"}


async def test_a_pod_that_is_gone_has_none(store: ObjectStore, store_api: Api) -> None:
    assert await PodAddresses(store_api, Workload(Reference("pod", "web-0"), {})).now() == []
