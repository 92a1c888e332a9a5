import asyncio

import pytest

from ktpy.cluster.changes import dev, dev_found
from ktpy.cluster.changes.dev_switch import DEVELOPED
from ktpy.cluster.steps import run_steps
from ktpy.errors import PodNotReady, RouteTaken
from ktpy.kube.client import Api
from tests.unit.cluster.changes.dev_cases import SPECS, collection, development, essence, furnish
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, ObjectStore


async def come(change: dev.DevChange) -> None:
    await change.enter(lambda _: None, lambda _: None)
    await change.take_over()


def is_clean(store: ObjectStore) -> bool:
    return not store.names(LEASES) and not [one for one in store.names(DEPLOYMENTS) if "ktpy" in one]


def is_served(store: ObjectStore) -> None:
    """Let the original's pods be ready, as its controller would."""
    found = store.get(DEPLOYMENTS, "web") or {}
    store.put(DEPLOYMENTS, found | {"status": {"observedGeneration": 1, "readyReplicas": 3}})


@pytest.mark.parametrize("kind", SPECS)
async def test_each_kind_comes_and_goes(store: ObjectStore, store_api: Api, kind: str) -> None:
    before = furnish(store, kind)
    change = await development(store_api, target=f"{kind}/web")
    await come(change)
    during = essence(store, kind)
    assert (during == before) is (kind == "job")
    if kind in ("deployment", "statefulset", "replicaset"):
        assert during["spec"]["replicas"] == 0
    store.remove(PODS, f"{change.trace.clone}-pod")  # its program has ended: nobody waits
    await change.leave()
    assert essence(store, kind) == before
    assert is_clean(store)


async def test_the_dev_pod_is_there_before_the_original_goes_and_goes_after_it(
    store: ObjectStore, store_api: Api
) -> None:
    furnish(store)
    change = await development(store_api)
    await come(change)
    is_served(store)
    await change.leave()
    assert [
        one.partition("/")[0] + "/" + one.rpartition("/")[2].replace("ktpy-a", "LEASE") for one in store.writes
    ] == [
        "POST leases/LEASE",
        "POST deployments/web-ktpy-dev",
        "PATCH deployments/web",
        "PATCH deployments/web",
        "PATCH deployments/web",
        "DELETE deployments/web-ktpy-dev",
        "DELETE leases/LEASE",
    ]


async def test_what_is_needed_to_go_back_is_written_with_the_change(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await come(await development(store_api))
    found = store.get(DEPLOYMENTS, "web") or {}
    assert '"value":3' in found["metadata"]["annotations"][DEVELOPED]


@pytest.mark.parametrize("done", range(7))
async def test_undoing_may_stop_anywhere_and_is_taken_up(store: ObjectStore, store_api: Api, done: int) -> None:
    before = furnish(store)
    change = await development(store_api)
    await come(change)
    is_served(store)
    steps = dev.removal(store_api, change.trace)
    await run_steps(steps[:done])
    store.pass_time(100)
    await dev_found.end_dead(store_api, "shop")
    assert essence(store) == before
    assert is_clean(store)


@pytest.mark.parametrize("done", ["lease", "dev pod", "switched off"])
async def test_a_session_that_died_anywhere_is_undone_by_others(store: ObjectStore, store_api: Api, done: str) -> None:
    before = furnish(store)
    change = await development(store_api)
    if done == "lease":
        await change.lease.claim()
    else:
        await change.enter(lambda _: None, lambda _: None)
    if done == "switched off":
        await change.take_over()
    is_served(store)
    ended, _ = await dev_found.end_dead(store_api, "shop")
    assert ended == []  # it lives
    store.pass_time(61)
    [ended_one], failures = await dev_found.end_dead(store_api, "shop")
    assert (ended_one.workload, failures) == ("deployment/web", [])
    assert essence(store) == before
    assert is_clean(store)


async def test_a_claim_is_free_before_the_dev_pod_wants_it(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store, "statefulset", volumeClaimTemplates=[{"metadata": {"name": "data"}}])
    change = await development(store_api, target="statefulset/web")
    await change.enter(lambda _: None, lambda _: None)
    kinds = [one.partition(" ")[2].partition("/")[0] + "/" + one.rpartition("/")[2] for one in store.writes]
    assert kinds[1:] == [
        "deployments/web-ktpy-dev-statefulset",
        "statefulsets/web",
        "deployments/web-ktpy-dev-statefulset",
    ]
    store.remove(PODS, "web-ktpy-dev-statefulset-pod")
    await change.leave()
    assert essence(store, "statefulset") == before
    assert is_clean(store)


async def test_pods_that_do_not_go_keep_what_the_dev_pod_wants(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "GONE_TIMEOUT_S", 0.2)
    before = furnish(store, "statefulset", volumeClaimTemplates=[{"metadata": {"name": "data"}}])
    store.put(PODS, {"metadata": {"name": "web-0", "labels": {"app": "other"}}})
    change = await development(store_api, target="statefulset/web")
    with pytest.raises(PodNotReady, match=r"app=other have not gone within 0\.2 s"):
        await change.enter(lambda _: None, lambda _: None)
    store.remove(PODS, "web-ktpy-dev-statefulset-pod")
    await change.leave()
    assert essence(store, "statefulset") == before
    assert is_clean(store)


async def test_a_switch_that_has_begun_is_done_before_anything_is_undone(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    change = await development(store_api)
    await change.enter(lambda _: None, lambda _: None)
    taking = asyncio.create_task(change.take_over())
    store.before["GET deployments/web"] = [taking.cancel]
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert essence(store)["spec"]["replicas"] == 0
    is_served(store)
    await change.leave()
    assert essence(store) == before


async def test_an_annotation_that_others_drop_is_remembered(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    change = await development(store_api)
    await come(change)
    found = store.get(DEPLOYMENTS, "web") or {}
    del found["metadata"]["annotations"]
    store.put(DEPLOYMENTS, found)
    store.remove(PODS, f"{change.trace.clone}-pod")
    await change.leave()
    assert essence(store) == before
    assert is_clean(store)


async def test_what_is_scaled_to_nothing_after_others_have_ended_it_stays(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    change = await development(store_api)
    await come(change)
    store.remove(PODS, f"{change.trace.clone}-pod")
    await run_steps(dev.removal(store_api, change.trace))
    furnish(store, replicas=0)
    await change.leave()
    assert essence(store)["spec"]["replicas"] == 0


async def test_two_want_one_workload_at_the_same_instant(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    first, second = await development(store_api, "a"), await development(store_api, "b")
    await come(first)
    with pytest.raises(RouteTaken, match="is developed by"):
        await come(second)
    await second.leave()
    assert "web-ktpy-dev" in store.names(DEPLOYMENTS)
    assert essence(store)["spec"]["replicas"] == 0


async def test_two_duplicates_beside_a_workload(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    changes = [await development(store_api, one, mode="duplicate") for one in ("a", "b")]
    for change in changes:
        await come(change)
    assert essence(store) == before
    for change in changes:
        await change.leave()
    assert essence(store) == before
    assert is_clean(store)


async def test_a_workload_that_was_deleted_meanwhile_is_no_hindrance(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    change = await development(store_api)
    await come(change)
    store.remove(collection("deployment"), "web")
    await change.leave()
    assert is_clean(store)
