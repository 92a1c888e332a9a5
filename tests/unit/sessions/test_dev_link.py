import pytest

from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.sessions.dev_link import may_run
from tests.unit.kube.object_store import PODS, ObjectStore


def pod(phase: str, **metadata: str) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", **metadata}, "status": {"phase": phase}}


@pytest.mark.parametrize(("phase", "may"), [("Running", True), ("Failed", False), ("Succeeded", False)])
async def test_a_pod_runs_its_program_still_or_not(store: ObjectStore, store_api: Api, phase: str, may: bool) -> None:
    store.put(PODS, pod(phase))
    assert await may_run(store_api, "web") is may


async def test_a_pod_that_is_being_deleted(store: ObjectStore, store_api: Api) -> None:
    store.put(PODS, pod("Running", deletionTimestamp="2030-01-01T12:00:00Z"))
    assert not await may_run(store_api, "web")


async def test_a_pod_that_is_gone(store: ObjectStore, store_api: Api) -> None:
    assert not await may_run(store_api, "web")
