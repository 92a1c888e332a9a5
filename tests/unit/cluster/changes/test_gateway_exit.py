"""Leaving, where others have died or endpoints do not follow; the order of it: test_gateway.py."""

import pytest

from ktpy.cluster.changes import gateway_exit
from ktpy.errors import RestoreIncomplete
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import REDIRECTED, assert_as_before, furnish, gateway, selector
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, ObjectStore


async def test_the_dead_leave_with_the_last_living(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await gateway(store_api, "dead").enter()
    store.pass_time(61)
    own = gateway(store_api, "a")
    await own.enter()
    await own.leave()
    assert_as_before(store, before)


async def test_the_living_are_not_taken_along(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    other, own = gateway(store_api, "b"), gateway(store_api, "a")
    await other.enter()
    store.pass_time(59)
    await own.enter()
    await own.leave()
    assert selector(store) == REDIRECTED
    assert store.names(LEASES) == ["ktpy-b"]


async def test_endpoints_that_never_move_keep_the_gateway(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(store)
    own = gateway(store_api, "a")
    await own.enter()
    monkeypatch.setattr(gateway_exit, "ENDPOINTS_TIMEOUT_S", 0.1)
    ours = (store.get(PODS, "web-ktpy-gateway-pod") or {})["metadata"]["uid"]
    monkeypatch.setattr(store, "_endpoints", lambda _: [{"targetRef": {"uid": ours}}])
    with pytest.raises(RestoreIncomplete, match="its gateway keeps serving"):
        await own.leave()
    assert selector(store) == {"app": "web"}
    assert store.names(DEPLOYMENTS) == ["web-ktpy-gateway"]
    assert store.names(LEASES) == ["ktpy-a"]
