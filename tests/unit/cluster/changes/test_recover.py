import json

import pytest

from ktpy.cluster.changes.recover import recover
from ktpy.cluster.names import INTERCEPTED
from ktpy.errors import RestoreIncomplete, SessionsLive, TargetAbsent
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import (
    REDIRECTED,
    assert_as_before,
    essence,
    furnish,
    gateway,
    selector,
    service,
)
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, SERVICES, ObjectStore

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def intercepted(store: ObjectStore, api: Api) -> dict[str, object]:
    before = furnish(store)
    await gateway(api, "a", "al").enter()
    return before


async def test_by_the_annotation_when_all_else_is_lost(store: ObjectStore, store_api: Api) -> None:
    before = await intercepted(store, store_api)
    store.remove(LEASES, "ktpy-a")
    store.remove(DEPLOYMENTS, "web-ktpy-gateway")
    store.remove(SERVICES, "web-ktpy-origin")
    recovered = await recover(store_api, "web")
    assert recovered is not None
    assert (recovered.selector, recovered.source) == ({"app": "web"}, "the service itself")
    assert_as_before(store, before)


async def test_by_the_origin_when_the_annotation_is_lost(store: ObjectStore, store_api: Api) -> None:
    before = await intercepted(store, store_api)
    store.remove(LEASES, "ktpy-a")
    found = store.get(SERVICES, "web") or {}
    del found["metadata"]["annotations"][INTERCEPTED]
    store.put(SERVICES, found)
    recovered = await recover(store_api, "web")
    assert recovered is not None
    assert recovered.source == "service web-ktpy-origin"
    assert_as_before(store, before)


async def test_by_what_kubectl_applied_when_both_are_lost(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    found = service(selector=dict(REDIRECTED))
    found["metadata"]["annotations"][LAST_APPLIED] = json.dumps(service())
    store.put(SERVICES, found)
    recovered = await recover(store_api, "web")
    assert recovered is not None
    assert recovered.source == "what was last applied with kubectl"
    assert selector(store) == {"app": "web"}


@pytest.mark.parametrize("applied", ["", "{", "{}", '{"spec": {"selector": {}}}', '{"spec": {"selector": "x"}}'])
async def test_nothing_tells(store: ObjectStore, store_api: Api, applied: str) -> None:
    furnish(store)
    found = service(selector=dict(REDIRECTED))
    found["metadata"]["annotations"][LAST_APPLIED] = applied
    store.put(SERVICES, found)
    with pytest.raises(RestoreIncomplete, match="Nothing tells what service web selected"):
        await recover(store_api, "web")
    assert selector(store) == REDIRECTED


async def test_live_sessions_are_not_disturbed(store: ObjectStore, store_api: Api) -> None:
    await intercepted(store, store_api)
    with pytest.raises(SessionsLive, match="live sessions of al"):
        await recover(store_api, "web")
    assert selector(store) == REDIRECTED


async def test_unless_they_are_evicted(store: ObjectStore, store_api: Api) -> None:
    before = await intercepted(store, store_api)
    assert await recover(store_api, "web", evict=True) is not None
    assert_as_before(store, before)


async def test_a_service_that_needs_nothing(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    assert await recover(store_api, "web") is None
    assert store.writes == []
    assert essence(store) == before


async def test_no_such_service(store_api: Api) -> None:
    with pytest.raises(TargetAbsent):
        await recover(store_api, "web")
