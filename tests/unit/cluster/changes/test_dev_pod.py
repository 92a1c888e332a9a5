import pytest

from ktpy.cluster.changes.dev_pod import DevPod, let_in
from ktpy.cluster.names import authorized_sessions
from ktpy.errors import ImagePullFailed, PodNotReady, QuotaExceeded
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of
from tests.unit.kube.object_store import DEPLOYMENTS, PODS, ObjectStore

KEY = "ssh-ed25519 AAAA"


def put_pod(store: ObjectStore, state: Json, *, ready: bool = False) -> Json:
    status = {
        "phase": "Running",
        "containerStatuses": [{"name": "web", "state": state}],
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    metadata = {"name": "dev-1", "labels": {"ktpy.dev/session": "a"}}
    return store.put(
        PODS, {"metadata": metadata, "spec": {"nodeName": "n", "containers": [{"image": "x"}]}, "status": status}
    )


def of(api: Api) -> DevPod:
    return DevPod(api, "a", "web-ktpy-dev", "web")


async def test_it_runs(store: ObjectStore, store_api: Api) -> None:
    put_pod(store, {"running": {}})
    told: list[str] = []
    pod = await of(store_api).running(5.0, lambda progress: told.append(str(progress)))
    assert pod["metadata"]["name"] == "dev-1"
    assert told == ["dev-1: started"]


async def test_it_is_ready(store: ObjectStore, store_api: Api) -> None:
    put_pod(store, {"running": {}}, ready=True)
    await of(store_api).until_ready()


async def test_the_image_cannot_be_pulled(store: ObjectStore, store_api: Api) -> None:
    put_pod(store, {"waiting": {"reason": "ImagePullBackOff"}})
    with pytest.raises(ImagePullFailed):
        await of(store_api).running(5.0, lambda _: None)


async def test_the_cluster_makes_no_pod(store: ObjectStore, store_api: Api) -> None:
    message = 'pods "x" is forbidden: exceeded quota: small'
    condition = {"type": "ReplicaFailure", "status": "True", "message": message}
    store.put(DEPLOYMENTS, {"metadata": {"name": "web-ktpy-dev"}, "status": {"conditions": [condition]}})
    with pytest.raises(QuotaExceeded):
        await of(store_api).running(5.0, lambda _: None)


async def test_it_does_not_run_in_time(store_api: Api) -> None:
    with pytest.raises(PodNotReady, match=r"within 0\.1 s: its deployment has not created it"):
        await of(store_api).running(0.1, lambda _: None)


async def test_another_key_is_let_in_for_a_while(store: ObjectStore, store_api: Api) -> None:
    pod = put_pod(store, {"running": {}})
    async with let_in(store_api, pod, "b", KEY):
        assert authorized_sessions(annotations_of(store.get(PODS, "dev-1") or {})) == {"b"}
    assert authorized_sessions(annotations_of(store.get(PODS, "dev-1") or {})) == set()


async def test_the_pod_went_meanwhile(store: ObjectStore, store_api: Api) -> None:
    pod = put_pod(store, {"running": {}})
    async with let_in(store_api, pod, "b", KEY):
        store.remove(PODS, "dev-1")
