import asyncio
from contextlib import aclosing

import pytest

from ktpy.cluster.changes import sweep
from ktpy.cluster.names import GATEWAY, INTERCEPTED, authorized_key_annotation
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.kube.refusals import Unavailable
from tests.unit.cluster.changes.host_route_cases import put_class
from tests.unit.cluster.gateway_cases import (
    ENTRY_STEPS,
    KEY,
    REDIRECTED,
    assert_as_before,
    clean_all,
    essence,
    furnish,
    gateway,
    pod,
    preview,
    selector,
    service,
)
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, SERVICES, ObjectStore

EXIT_STEPS = 8


async def found(api: Api, namespace: str | None = "shop") -> list[tuple[str, str]]:
    return [(one.kind, one.name) for one in await sweep.find(api, namespace)]


async def test_the_living_leave_nothing(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await gateway(store_api, "a").enter()
    store.pass_time(59)
    assert await found(store_api) == []
    assert await sweep.remove(store_api, "shop") == ([], [])
    assert selector(store) == REDIRECTED


async def test_what_a_dead_session_leaves(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await gateway(store_api, "a", "al").enter()
    store.pass_time(75)
    [session, *rest] = await sweep.find(store_api, None)
    assert (session.kind, session.name, session.namespace) == ("session", "web/a", "shop")
    assert session.reason == "of al, not heard from for 75 s"
    assert [(one.kind, one.name) for one in rest] == [
        ("interception", "web"),
        ("service", "web-ktpy-origin"),
        ("deployment", "web-ktpy-gateway"),
    ]
    assert "Lease" not in session.reason
    removed, failures = await sweep.remove(store_api, None)
    assert (removed, failures) == ([session, *rest], [])
    assert_as_before(store, before)


@pytest.mark.parametrize("done", range(1, ENTRY_STEPS + 1))
async def test_a_session_that_died_while_entering(store: ObjectStore, store_api: Api, done: int) -> None:
    before = furnish(store)
    for step in gateway(store_api, "a").entry[:done]:
        await step.run()
    await clean_all(store, store_api, before)


@pytest.mark.parametrize("done", range(EXIT_STEPS + 1))
async def test_a_session_that_died_while_leaving(store: ObjectStore, store_api: Api, done: int) -> None:
    before = furnish(store)
    own = gateway(store_api, "a")
    await own.enter()
    for step in own.exit[:done]:
        await step.run()
    await clean_all(store, store_api, before)
    assert await found(store_api) == []


async def test_the_living_keep_what_they_share_with_the_dead(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await gateway(store_api, "dead").enter()
    store.pass_time(61)
    living = gateway(store_api, "a")
    await living.enter()
    async with aclosing(living.pods.follow()) as states:
        await anext(states)
    assert await found(store_api) == [("session", "web/dead")]
    await sweep.remove(store_api, "shop")
    assert selector(store) == REDIRECTED
    assert store.names(LEASES) == ["ktpy-a"]
    keys = (store.get(PODS, "web-ktpy-gateway-pod") or {})["metadata"]["annotations"]
    assert authorized_key_annotation("dead") not in keys
    assert keys[authorized_key_annotation("a")] == KEY
    await living.leave()
    assert essence(store) == before


async def test_who_renews_at_the_last_moment_lives(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await gateway(store_api, "a").enter()
    store.pass_time(61)
    lease = store.get(LEASES, "ktpy-a")
    assert lease is not None
    store.before["DELETE leases/ktpy-a"] = [lambda: store.put(LEASES, lease)]
    assert await sweep.remove(store_api, "shop") == ([], [])
    assert selector(store) == REDIRECTED
    assert store.names(LEASES) == ["ktpy-a"]
    assert store.names(DEPLOYMENTS) == ["web-ktpy-gateway"]


async def test_who_enters_while_others_clean_is_not_harmed(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await gateway(store_api, "dead").enter()
    store.pass_time(61)
    living = gateway(store_api, "a")
    await asyncio.gather(sweep.remove(store_api, "shop"), living.enter())
    assert selector(store) == REDIRECTED
    assert store.names(DEPLOYMENTS) == ["web-ktpy-gateway"]
    origin = store.get(SERVICES, "web-ktpy-origin")
    assert origin is not None
    assert origin["spec"]["selector"] == {"app": "web"}


async def test_a_session_whose_lease_is_gone_is_dead(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await gateway(store_api, "a", "al").enter()
    store.remove(LEASES, "ktpy-a")
    [session, *_] = await sweep.find(store_api, "shop")
    assert session.reason == "of al, whose lease is gone"
    await sweep.remove(store_api, "shop")
    assert essence(store) == before


async def test_an_annotation_that_was_lost(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await gateway(store_api, "a").enter()
    changed = store.get(SERVICES, "web") or {}
    del changed["metadata"]["annotations"][INTERCEPTED]
    store.put(SERVICES, changed)
    store.pass_time(61)
    _, failures = await sweep.remove(store_api, "shop")
    assert failures == []
    assert essence(store) == before


async def test_a_service_that_nothing_tells_about_is_told_and_keeps_its_gateway(
    store: ObjectStore, store_api: Api
) -> None:
    furnish(store)
    await gateway(store_api, "a").enter()
    store.put(SERVICES, service(selector={GATEWAY: "web"}))
    store.remove(SERVICES, "web-ktpy-origin")
    store.pass_time(61)
    removed, [failure] = await sweep.remove(store_api, "shop")
    assert removed == []
    assert "nothing tells what it selected before" in str(failure)
    assert store.names(DEPLOYMENTS) == ["web-ktpy-gateway"]


async def test_objects_that_nobody_holds(store: ObjectStore, store_api: Api) -> None:
    """Of a session that was killed between giving them up and deleting them."""
    before = furnish(store)
    own = gateway(store_api, "a")
    await own.enter()
    for collection, name in ((DEPLOYMENTS, "web-ktpy-gateway"), (SERVICES, "web-ktpy-origin")):
        item = store.get(collection, name) or {}
        item["metadata"]["annotations"] = {}
        store.put(collection, item)
    store.put(SERVICES, service())
    store.put(PODS, pod("web-ktpy-gateway-pod", **{GATEWAY: "web"}))
    store.remove(LEASES, "ktpy-a")
    assert await found(store_api) == [("service", "web-ktpy-origin"), ("deployment", "web-ktpy-gateway")]
    await sweep.remove(store_api, "shop")
    assert_as_before(store, before)


async def test_one_failure_does_not_stop_the_rest(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(store)
    await gateway(store_api, "a").enter()
    await preview(store_api, "p").enter()
    store.pass_time(61)

    async def failing(*_: object) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(sweep, "run_steps", failing)
    removed, failures = await sweep.remove(store_api, "shop")
    assert (removed, len(failures)) == ([], 2)


async def test_a_dead_preview(store: ObjectStore, store_api: Api) -> None:
    await preview(store_api, "p").enter()
    assert await found(store_api) == []
    store.pass_time(61)
    assert await found(store_api) == [("session", "pay/p"), ("service", "pay"), ("deployment", "pay-ktpy-gateway")]
    _, failures = await sweep.remove(store_api, "shop")
    assert failures == []
    assert store.names(SERVICES) == store.names(DEPLOYMENTS) == store.names(LEASES) == []


async def test_a_dead_preview_whose_route_may_be_seen_and_not_deleted_stays_whole(
    store: ObjectStore, store_api: Api
) -> None:
    """As of a colleague's who has the cluster's role `view` beside what ktpy needs."""
    put_class(store, "nginx")
    await preview(store_api, "p", ingress_host="pay.example.org").enter()
    store.pass_time(61)
    store.forbidden.add("delete ingresses")
    removed, [failure] = await sweep.remove(store_api, "shop")
    assert removed == []
    assert isinstance(failure, Forbidden)
    store.forbidden.clear()
    assert await found(store_api) == [
        ("session", "pay/p"),
        ("service", "pay"),
        ("deployment", "pay-ktpy-gateway"),
        ("ingress", "pay"),
    ]
    _, failures = await sweep.remove(store_api, "shop")
    assert failures == []
    assert await found(store_api) == []


@pytest.mark.parametrize(
    ("is_standing", "state", "left"),
    [(True, {}, [("session", "pay/x")]), (True, {"deletionTimestamp": "now"}, []), (False, {}, [])],
    ids=["stays", "is deleted", "has no Deployment any more"],
)
async def test_a_pod_that_is_ending_leaves_nothing(
    store: ObjectStore, store_api: Api, is_standing: bool, state: dict[str, str], left: list[tuple[str, str]]
) -> None:
    """It takes its time, with the keys of those who are gone."""
    if is_standing:
        await preview(store_api, "p").enter()
    of_preview = pod("pay-ktpy-gateway-pod", **{GATEWAY: "pay"})
    of_preview["metadata"] |= {"annotations": {authorized_key_annotation("x"): KEY}, **state}
    store.put(PODS, of_preview)
    assert await found(store_api) == left


async def test_a_user_who_may_not_see_ingresses_cleans_all_the_same(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await gateway(store_api, "a").enter()
    await preview(store_api, "p").enter()
    store.pass_time(61)
    store.forbidden |= {"list ingresses", "get ingresses"}
    _, failures = await sweep.remove(store_api, "shop")
    assert failures == []
    assert essence(store) == before
