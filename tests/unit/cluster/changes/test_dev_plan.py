import pytest

from ktpy.cluster.changes.dev_plan import prepare
from ktpy.cluster.changes.options import DevOptions
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.errors import RouteTaken, TargetAmbiguous, TargetUnsuitable
from ktpy.kube.client import Api
from tests.unit.cluster.changes.dev_cases import CONTAINER, POD, collection, development, essence, furnish
from tests.unit.kube.object_store import DEPLOYMENTS, ObjectStore


async def test_a_bare_name_is_found(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    assert str((await development(store_api, target="web")).trace.reference) == "deployment/web"
    assert store.writes == []


async def test_several_containers_of_which_none_was_named(store: ObjectStore, store_api: Api) -> None:
    two = [CONTAINER, {"name": "proxy"}]
    furnish(store, template=POD | {"spec": {"containers": two}})
    with pytest.raises(TargetAmbiguous, match="2 containers"):
        await development(store_api)


async def test_what_belongs_to_another_is_not_changed(store: ObjectStore, store_api: Api) -> None:
    furnish(store, "pod")
    found = store.get(collection("pod"), "web") or {}
    found["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web-5f", "controller": True}]
    store.put(collection("pod"), found)
    with pytest.raises(TargetUnsuitable, match="belongs to replicaset/web-5f"):
        await development(store_api, target="pod/web")
    await development(store_api, target="pod/web", mode="duplicate")


async def test_a_kind_that_has_no_switch(store: ObjectStore, store_api: Api) -> None:
    path = "/api/v1/namespaces/shop/replicationcontrollers"
    store.put(path, {"metadata": {"name": "web"}, "spec": {"template": POD}})
    with pytest.raises(TargetUnsuitable, match="cannot be developed"):
        await development(store_api, target="rc/web")


async def test_a_workload_that_somebody_replaces(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await (await development(store_api, "a")).enter(lambda _: None, lambda _: None)
    with pytest.raises(RouteTaken, match="developed by a@laptop already"):
        await development(store_api, "b")
    await development(store_api, "b", mode="duplicate")


async def test_what_a_dead_session_has_left_is_undone_first(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    dead = await development(store_api, "a")
    await dead.enter(lambda _: None, lambda _: None)
    await dead.take_over()
    store.put(
        DEPLOYMENTS, (store.get(DEPLOYMENTS, "web") or {}) | {"status": {"observedGeneration": 1, "readyReplicas": 3}}
    )
    store.pass_time(61)
    await development(store_api, "b")
    assert essence(store) == before


@pytest.mark.parametrize(("mode", "count"), [("replace", 1), ("duplicate", 0)])
async def test_who_manages_it_may_switch_it_on_again(store: ObjectStore, store_api: Api, mode: str, count: int) -> None:
    furnish(store)
    found = store.get(DEPLOYMENTS, "web") or {}
    found["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "x"}
    store.put(DEPLOYMENTS, found)
    plan = await prepare(store_api, DevOptions("web", mode=mode), SessionIdentity("a", "al", ""))
    assert len(plan.warnings) == count
