"""What others do to an intercepted Service meanwhile, and what its session makes of that."""

import asyncio

import pytest

from ktpy.cluster.changes import gateway_manifest
from ktpy.cluster.names import INTERCEPTED
from ktpy.errors import SessionLost, TargetAbsent
from ktpy.kube.client import Api
from ktpy.wire.version import VERSION
from tests.unit.cluster.gateway_cases import REDIRECTED, furnish, gateway, of_version, selector
from tests.unit.kube.object_store import DEPLOYMENTS, SERVICES, ObjectStore


async def guarded(store: ObjectStore, api: Api) -> tuple["asyncio.Future[None]", "asyncio.Queue[str]"]:
    furnish(store)
    own = gateway(api, "a")
    await own.enter()
    told: asyncio.Queue[str] = asyncio.Queue()
    assert own.guard is not None
    guarding = asyncio.ensure_future(own.guard(told.put_nowait))
    return guarding, told


async def test_a_selector_that_somebody_adds_to_is_mended(store: ObjectStore, store_api: Api) -> None:
    guarding, told = await guarded(store, store_api)
    found = store.get(SERVICES, "web") or {}
    found["spec"]["selector"] |= {"tier": "front"}
    store.put(SERVICES, found)
    assert "mended" in await asyncio.wait_for(told.get(), 5)
    await store.until(lambda: selector(store) == REDIRECTED)
    guarding.cancel()


async def test_a_manifest_applied_over_it_once_is_redirected_and_twice_is_left(
    store: ObjectStore, store_api: Api
) -> None:
    guarding, told = await guarded(store, store_api)

    def apply() -> None:
        found = store.get(SERVICES, "web") or {}
        found["spec"]["selector"] = {"app": "web"}
        store.put(SERVICES, found)

    apply()
    assert "ktpy redirects it once more" in await asyncio.wait_for(told.get(), 5)
    await store.until(lambda: selector(store) == REDIRECTED)
    apply()
    assert "put the selector of web back again" in await asyncio.wait_for(told.get(), 5)
    assert selector(store) == {"app": "web"}
    guarding.cancel()


async def test_given_back_by_somebody(store: ObjectStore, store_api: Api) -> None:
    """As `ktpy recover --evict` does: nothing is to be made anew then."""
    guarding, _ = await guarded(store, store_api)
    found = store.get(SERVICES, "web") or {}
    found["spec"]["selector"] = {"app": "web"}
    del found["metadata"]["annotations"][INTERCEPTED]
    store.put(SERVICES, found)
    with pytest.raises(SessionLost, match="given service web back"):
        await asyncio.wait_for(guarding, 5)


async def test_taken_out_by_somebody(store: ObjectStore, store_api: Api) -> None:
    guarding, _ = await guarded(store, store_api)
    found = store.get(SERVICES, "web") or {}
    note = found["metadata"]["annotations"]
    note[INTERCEPTED] = note[INTERCEPTED].replace('["a"]', '["b"]')
    store.put(SERVICES, found)
    with pytest.raises(SessionLost):
        await asyncio.wait_for(guarding, 5)


async def test_the_service_is_deleted(store: ObjectStore, store_api: Api) -> None:
    guarding, _ = await guarded(store, store_api)
    store.remove(SERVICES, "web")
    with pytest.raises(TargetAbsent):
        await asyncio.wait_for(guarding, 5)


async def test_a_gateway_that_was_deleted_is_made_anew(store: ObjectStore, store_api: Api) -> None:
    guarding, told = await guarded(store, store_api)
    store.remove(DEPLOYMENTS, "web-ktpy-gateway")
    assert "makes it anew" in await asyncio.wait_for(told.get(), 5)
    await store.until(lambda: store.names(DEPLOYMENTS) == ["web-ktpy-gateway"])
    guarding.cancel()


async def test_an_origin_that_was_deleted_comes_back_where_it_was(store: ObjectStore, store_api: Api) -> None:
    """Its address is what the gateway's pods know of it."""
    guarding, told = await guarded(store, store_api)
    origin = store.get(SERVICES, "web-ktpy-origin") or {}
    store.remove(SERVICES, "web-ktpy-origin")
    assert "web-ktpy-origin; ktpy makes it anew" in await asyncio.wait_for(told.get(), 5)
    await store.until(lambda: store.get(SERVICES, "web-ktpy-origin") is not None)
    again = store.get(SERVICES, "web-ktpy-origin") or {}
    assert again["spec"] == origin["spec"]
    assert gateway_manifest.proxied(again) is None
    assert again["metadata"]["uid"] != origin["metadata"]["uid"]
    guarding.cancel()


async def test_an_origin_whose_address_is_given_back_late(store: ObjectStore, store_api: Api) -> None:
    guarding, _ = await guarded(store, store_api)
    origin = store.get(SERVICES, "web-ktpy-origin") or {}
    store.put(SERVICES, {"metadata": {"name": "late"}, "spec": {"clusterIP": origin["spec"]["clusterIP"]}})
    store.before["POST services"] = [lambda: None, lambda: store.remove(SERVICES, "late")]
    store.remove(SERVICES, "web-ktpy-origin")
    await store.until(lambda: store.get(SERVICES, "web-ktpy-origin") is not None)
    assert (store.get(SERVICES, "web-ktpy-origin") or {})["spec"] == origin["spec"]
    guarding.cancel()


@pytest.mark.parametrize(("version", "word"), [(VERSION - 1, "older"), (VERSION + 1, "newer")])
async def test_a_gateway_of_another_version_is_told(
    store: ObjectStore, store_api: Api, version: int, word: str
) -> None:
    furnish(store)
    await gateway(store_api, "b").enter()
    of_version(store, version)
    own = gateway(store_api, "a")
    await own.enter()
    told: asyncio.Queue[str] = asyncio.Queue()
    assert own.guard is not None
    guarding = asyncio.ensure_future(own.guard(told.put_nowait))
    sentence = f"The gateway of web is one version {word} than this ktpy; they understand each other."
    assert await asyncio.wait_for(told.get(), 5) == sentence
    guarding.cancel()
