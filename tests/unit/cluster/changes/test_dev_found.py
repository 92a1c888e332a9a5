import pytest

from ktpy.cluster.changes import dev_found
from ktpy.cluster.changes.dev_switch import DEVELOPED
from ktpy.kube.client import Api
from tests.unit.cluster.changes.dev_cases import development, essence, furnish
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, ObjectStore


async def test_who_develops_what(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await (await development(store_api, work_dir="/src")).enter(lambda _: None, lambda _: None)
    [found] = await dev_found.find(store_api, None)
    assert found.folder == "/src"
    assert found.data() == {
        "workload": "deployment/web",
        "mode": "replace",
        "container": "web",
        "owner": "a@laptop",
        "session": "a",
        "is_live": True,
        "since": "2030-01-01T12:00:00Z",
    }


async def test_a_deployment_whose_session_has_no_lease_any_more_is_dead(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await (await development(store_api)).enter(lambda _: None, lambda _: None)
    store.remove(LEASES, "ktpy-a")
    [found] = await dev_found.find(store_api, "shop")
    assert not found.is_live


async def test_who_renews_its_lease_at_the_last_moment_lives(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await (await development(store_api)).enter(lambda _: None, lambda _: None)
    [found] = await dev_found.find(store_api, "shop")
    store.put(LEASES, store.get(LEASES, "ktpy-a") or {})
    assert not await dev_found.end(store_api, found)
    assert "web-ktpy-dev" in store.names(DEPLOYMENTS)


async def test_what_a_newer_version_has_made_is_left_alone(store: ObjectStore, store_api: Api) -> None:
    marks = {"app.kubernetes.io/managed-by": "ktpy", "ktpy.dev/role": "dev"}
    for number, annotation in enumerate(
        ("{}", "[]", "no JSON", '{"workload": "?", "clone": "x"}', '{"workload": "pod/x", "clone": "../x"}')
    ):
        metadata = {
            "name": f"n{number}",
            "labels": marks | {"ktpy.dev/session": f"z{number}"},
            "annotations": {"ktpy.dev/develops": annotation},
        }
        store.put(DEPLOYMENTS, {"metadata": metadata, "spec": {}})
        assert await dev_found.find(store_api, "shop") == []


@pytest.mark.parametrize("is_known", [False, True])
async def test_an_annotation_without_its_session_is_cleaned_away(
    store: ObjectStore, store_api: Api, *, is_known: bool
) -> None:
    before = furnish(store)
    gone = await development(store_api)
    await gone.enter(lambda _: None, lambda _: None)
    await gone.take_over()
    store.remove(DEPLOYMENTS, "web-ktpy-dev")
    lease = store.get(LEASES, "ktpy-a") or {}
    if is_known:  # a newer version says it otherwise
        lease["metadata"]["annotations"] = {}
        store.put(LEASES, lease)
    else:
        store.remove(LEASES, "ktpy-a")
    store.put(DEPLOYMENTS, {"metadata": {"name": "broken", "annotations": {DEVELOPED: "?"}}, "spec": {}})
    ended, failures = await dev_found.end_dead(store_api, "shop")
    assert ([one.workload for one in ended], failures) == ([] if is_known else ["deployment/web"], [])
    assert (essence(store) == before) is not is_known
