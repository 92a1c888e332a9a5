from contextlib import nullcontext

import pytest

from ktpy.cluster.changes.dev_plan import prepare
from ktpy.cluster.changes.options import DevOptions
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.pods.claims import CLAIMS
from ktpy.errors import RouteTaken, TargetAbsent, TargetAmbiguous, TargetUnsuitable
from ktpy.kube.client import Api
from tests.unit.cluster.changes.dev_cases import CONTAINER, POD, collection, development, essence, furnish
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, ObjectStore


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


async def test_the_template_is_the_one_without_what_a_dead_session_has_left(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store, "daemonset")
    dead = await development(store_api, "a", "daemonset/web")
    await dead.enter(lambda _: None, lambda _: None)
    await dead.take_over()
    store.remove(PODS, f"{dead.trace.clone}-pod")
    store.pass_time(61)
    plan = await prepare(store_api, DevOptions("daemonset/web"), SessionIdentity("b", "bo", ""))
    assert plan.template == before["spec"]["template"]


@pytest.mark.parametrize(("kind", "off"), [("deployment", True), ("deployment", False), ("daemonset", True)])
async def test_an_annotation_of_which_nothing_else_is_left(
    store: ObjectStore, store_api: Api, kind: str, *, off: bool
) -> None:
    before = furnish(store, kind)
    gone = await development(store_api, "a", f"{kind}/web")
    await gone.enter(lambda _: None, lambda _: None)
    await gone.take_over()
    store.remove(LEASES, "ktpy-a")
    store.remove(DEPLOYMENTS, gone.trace.clone)
    if not off:  # `rollout undo` brings annotations back, not the replicas
        found = store.get(collection(kind), "web") or {}
        store.put(collection(kind), found | {"spec": before["spec"]})
    change = await development(store_api, "b", f"{kind}/web")
    assert essence(store, kind) == before
    await change.enter(lambda _: None, lambda _: None)
    assert await change.take_over()


@pytest.mark.parametrize(
    ("policy", "mode", "is_refused"),
    [("Delete", "replace", True), ("Retain", "replace", False), ("Delete", "duplicate", False)],
)
async def test_volumes_that_would_go_with_the_pods(
    store: ObjectStore, store_api: Api, policy: str, mode: str, *, is_refused: bool
) -> None:
    retention, templates = {"whenScaled": policy}, [{"metadata": {"name": "data"}}]
    furnish(store, "statefulset", persistentVolumeClaimRetentionPolicy=retention, volumeClaimTemplates=templates)
    with pytest.raises(TargetUnsuitable, match="would lose its volumes") if is_refused else nullcontext():
        await development(store_api, target="statefulset/web", mode=mode)


@pytest.mark.parametrize(
    ("strategy", "mode", "is_exclusive"),
    [
        ("Recreate", None, True),
        ("RollingUpdate", "ReadWriteOnce", True),
        ("RollingUpdate", "ReadWriteOncePod", True),
        ("RollingUpdate", "ReadWriteMany", False),
        ("RollingUpdate", "ReadOnlyMany", False),
        ("RollingUpdate", None, False),
    ],
)
async def test_what_one_pod_alone_may_have_is_free_first(
    store: ObjectStore, store_api: Api, strategy: str, mode: str | None, *, is_exclusive: bool
) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}] if mode else []
    template = POD | {"spec": POD["spec"] | {"volumes": volumes}}
    furnish(store, strategy={"type": strategy}, template=template)
    store.put(CLAIMS.path("shop"), {"metadata": {"name": "data"}, "spec": {"accessModes": [mode]}})
    status = {"phase": "Running"}
    store.put(PODS, {"metadata": {"name": "web-1"}, "spec": {"nodeName": "n1", "volumes": volumes}, "status": status})
    plan = await prepare(store_api, DevOptions("web"), SessionIdentity("a", "al", ""))
    assert plan.is_exclusive is is_exclusive


async def test_a_claim_that_is_not_there(store: ObjectStore, store_api: Api) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    furnish(store, template=POD | {"spec": POD["spec"] | {"volumes": volumes}})
    with pytest.raises(TargetAbsent, match="no claim data") as refused:
        await prepare(store_api, DevOptions("web"), SessionIdentity("a", "al", ""))
    assert "--volumes" not in str(refused.value.hint)  # which `dev` has not


@pytest.mark.parametrize(("mode", "count"), [("replace", 1), ("duplicate", 0)])
async def test_who_manages_it_may_switch_it_on_again(store: ObjectStore, store_api: Api, mode: str, count: int) -> None:
    furnish(store)
    found = store.get(DEPLOYMENTS, "web") or {}
    found["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "x"}
    store.put(DEPLOYMENTS, found)
    plan = await prepare(store_api, DevOptions("web", mode=mode), SessionIdentity("a", "al", ""))
    assert len(plan.warnings) == count
