"""When a session has all requests of a Service, and at which addresses."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ktpy.cluster.changes import keeping
from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.sole import sole_addresses
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import furnish, gateway, identity, plan, preview, service
from tests.unit.kube.object_store import SERVICES, ObjectStore

ADDRESS = frozenset({"10.96.0.1"})


async def now(api: Api, name: str = "web", session: str = "al", *, owns_service: bool = False) -> frozenset[str]:
    states: AsyncGenerator[frozenset[str], None]
    states = sole_addresses(api, Interceptee("shop", name), lambda: session, owns_service=owns_service)
    async with aclosing(states):
        return await anext(states)


async def test_it_has_them_while_nobody_else_has_a_part_but_who_keeps_the_gateway(
    store: ObjectStore, store_api: Api
) -> None:
    furnish(store)
    assert await now(store_api) == frozenset()
    own, other = gateway(store_api, "al"), gateway(store_api, "bob")
    await own.enter()
    assert await now(store_api) == ADDRESS
    await other.enter()
    assert await now(store_api) == frozenset()
    await other.leave()
    assert await now(store_api) == ADDRESS
    keeper = GATEWAY.change(store_api, plan("web", kind="keep"), identity("k"), lambda _: None)
    await keeping.keep(store_api, Interceptee("shop", "web"), keeper, "k", lambda _: None)
    assert await now(store_api) == ADDRESS
    assert await now(store_api, session="another") == frozenset()
    await own.leave()
    assert await now(store_api) == frozenset()


async def test_of_a_service_that_leads_to_its_own_pods_again_it_has_none(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await gateway(store_api, "al").enter()
    found = store.get(SERVICES, "web")
    assert found is not None
    store.put(SERVICES, found | {"spec": found["spec"] | {"selector": service()["spec"]["selector"]}})
    assert await now(store_api) == frozenset()


async def test_a_preview_is_its_sessions_own_and_a_headless_service_has_no_address(
    store: ObjectStore, store_api: Api
) -> None:
    await preview(store_api, "al").enter()
    [address] = await now(store_api, "pay", owns_service=True)
    assert address.startswith("10.96.0.")
    found = store.get(SERVICES, "pay")
    assert found is not None
    store.put(SERVICES, found | {"spec": found["spec"] | {"clusterIP": "None"}})
    assert await now(store_api, "pay", owns_service=True) == frozenset()
    assert await now(store_api, "gone", owns_service=True) == frozenset()
