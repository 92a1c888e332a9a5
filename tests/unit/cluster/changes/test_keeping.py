"""A gateway that stays, against an API with the real one's preconditions; the real one: e2e/test_gateway_keep.py."""

import asyncio

import pytest

from ktpy.cluster.changes import keeping, sweep
from ktpy.cluster.changes.change import ClusterChange
from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.changes.recover import recover
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.sharing.lease import Lease
from ktpy.errors import GatewayMismatch, PodNotReady, SessionsLive
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import (
    ENTRY_STEPS,
    REDIRECTED,
    assert_as_before,
    clean_all,
    furnish,
    gateway,
    is_clean,
    plan,
    selector,
    service,
)
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, SERVICES, ObjectStore

WEB = Interceptee("shop", "web")


def keeper(api: Api, session: str) -> ClusterChange:
    """The change of somebody who keeps the gateway: it needs no key."""
    return GATEWAY.change(api, plan("web", kind="keep"), SessionIdentity(session, f"{session}@x", ""), lambda _: None)


async def keep(api: Api, session: str = "k") -> Lease:
    return await keeping.keep(api, WEB, keeper(api, session), session, lambda _: None)


async def release(api: Api) -> None:
    await keeping.leave(api, WEB, [one.id for one in (await keeping.look(api, WEB)).keepers])


async def test_it_stays_until_it_is_released(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await keep(store_api)
    store.pass_time(86_400)
    assert await sweep.find(store_api, None) == []
    assert await sweep.remove(store_api, None) == ([], [])
    assert selector(store) == REDIRECTED
    [kept] = await keeping.kept(store_api, None)
    assert (kept.owner, kept.target, kept.description) == ("k@x", "web", "keeps the gateway")
    await release(store_api)
    assert_as_before(store, before)


async def test_no_key_is_needed(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await keep(store_api)
    assert not [one for one in store.writes if one.startswith("PATCH pods")]


async def test_others_come_and_go(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await keep(store_api)
    for session in ("a", "b"):
        own = gateway(store_api, session)
        await own.enter()
        await own.leave()
        assert selector(store) == REDIRECTED
        assert store.names(LEASES) == ["ktpy-k"]
    await release(store_api)
    assert_as_before(store, before)


async def test_one_that_is_released_meanwhile_goes_with_the_last_who_intercepts(
    store: ObjectStore, store_api: Api
) -> None:
    before = furnish(store)
    await keep(store_api)
    own = gateway(store_api, "a")
    await own.enter()
    await release(store_api)
    assert selector(store) == REDIRECTED
    assert store.names(LEASES) == ["ktpy-a"]
    await own.leave()
    assert_as_before(store, before)


async def test_one_that_others_have_made_stays(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    own = gateway(store_api, "a")
    await own.enter()
    await keep(store_api)
    await own.leave()
    assert selector(store) == REDIRECTED
    assert store.names(DEPLOYMENTS) == ["web-ktpy-gateway"]


async def test_who_keeps_it_already_goes_on(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await keep(store_api, "k")
    found = await keep(store_api, "l")
    assert (found.session, found.owner) == ("k", "k@x")
    assert store.names(LEASES) == ["ktpy-k"]


async def test_a_gateway_that_was_deleted_is_made_anew(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await keep(store_api, "k")
    store.remove(DEPLOYMENTS, "web-ktpy-gateway")
    await keep(store_api, "l")
    assert store.names(DEPLOYMENTS) == ["web-ktpy-gateway"]
    assert selector(store) == REDIRECTED
    await release(store_api)
    assert_as_before(store, before)


async def test_who_makes_a_gateway_that_was_deleted_does_not_take_it_along(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await keep(store_api)
    store.remove(DEPLOYMENTS, "web-ktpy-gateway")
    own = gateway(store_api, "a")
    await own.enter()
    await own.leave()
    assert store.names(DEPLOYMENTS) == ["web-ktpy-gateway"]
    assert selector(store) == REDIRECTED
    await release(store_api)
    assert_as_before(store, before)


async def test_a_manifest_that_was_applied_over_it_is_redirected_again(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await keep(store_api, "k")
    applied = store.get(SERVICES, "web") or {}
    applied["spec"]["selector"] = {"app": "web"}
    store.put(SERVICES, applied)
    await keep(store_api, "l")
    assert selector(store) == REDIRECTED


async def test_a_service_that_was_made_anew_is_kept_anew(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await keep(store_api, "k")
    store.put(SERVICES, service())
    assert (await keep(store_api, "l")).session == "l"
    assert store.names(LEASES) == ["ktpy-l"]
    await release(store_api)
    assert_as_before(store, before)


async def test_clean_takes_one_whose_service_is_gone(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await keep(store_api)
    store.remove(SERVICES, "web")
    [first, *_] = await sweep.find(store_api, None)
    assert first.reason == "of k@x, who keeps the gateway of a service that is gone"
    _, failures = await sweep.remove(store_api, None)
    assert failures == []
    assert (store.names(LEASES), store.names(DEPLOYMENTS), store.names(SERVICES)) == ([], [], [])


@pytest.mark.parametrize("done", range(1, ENTRY_STEPS + 1))
async def test_clean_undoes_what_was_killed_at_any_step(store: ObjectStore, store_api: Api, done: int) -> None:
    before = furnish(store)
    for step in keeper(store_api, "k").entry[:done]:
        await step.run()
    await clean_all(store, store_api, before)


@pytest.mark.parametrize("done", range(1, ENTRY_STEPS + 1))
async def test_the_next_one_completes_what_was_killed_at_any_step(
    store: ObjectStore, store_api: Api, done: int
) -> None:
    before = furnish(store)
    for step in keeper(store_api, "k").entry[:done]:
        await step.run()
    store.pass_time(61)
    assert (await keep(store_api, "l")).session == "l"
    await sweep.remove(store_api, "shop")
    assert selector(store) == REDIRECTED
    assert store.names(LEASES) == ["ktpy-l"]
    await release(store_api)
    assert_as_before(store, before)


async def test_who_is_interrupted_undoes_it(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = furnish(store)
    change = keeper(store_api, "k")

    async def refuse(*_: object) -> None:
        raise PodNotReady("never")

    monkeypatch.setattr(change.lease, "stand", refuse)
    with pytest.raises(PodNotReady):
        await keeping.keep(store_api, WEB, change, "k", lambda _: None)
    assert_as_before(store, before)


async def test_two_at_the_same_instant(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await asyncio.gather(keep(store_api, "k"), keep(store_api, "l"))
    assert selector(store) == REDIRECTED
    await release(store_api)
    assert_as_before(store, before)


async def test_recovering_leaves_it_alone_and_says_how_it_ends(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await keep(store_api)
    with pytest.raises(SessionsLive, match="Service web is kept by k@x; nothing was changed") as refused:
        await recover(store_api, "web")
    assert "`ktpy gateway release web`" in (refused.value.hint or "")
    await recover(store_api, "web", evict=True)
    assert is_clean(store)


async def test_one_that_does_not_fit_says_how_it_ends(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await keep(store_api)
    changed = store.get(SERVICES, "web") or {}
    changed["spec"]["ports"].append({"name": "http-more", "port": 81, "protocol": "TCP", "targetPort": 8081})
    store.put(SERVICES, changed)
    with pytest.raises(GatewayMismatch) as refused:
        await gateway(store_api, "a").enter()
    assert (refused.value.hint or "").startswith("`ktpy gateway release web`")


async def test_one_of_another_image_says_how_it_is_made_anew(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await keep(store_api)
    deployment = store.get(DEPLOYMENTS, "web-ktpy-gateway") or {}
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "agent:0"
    store.put(DEPLOYMENTS, deployment)
    own = gateway(store_api, "a")
    await own.enter()
    told: asyncio.Queue[str] = asyncio.Queue()
    assert own.guard is not None
    guarding = asyncio.ensure_future(own.guard(told.put_nowait))
    assert (await asyncio.wait_for(told.get(), 5)).startswith(
        "The gateway of web is kept and runs agent:0, this ktpy has agent:1: once nobody intercepts, `ktpy gateway"
    )
    guarding.cancel()


async def test_looking(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    assert await keeping.look(store_api, WEB) == keeping.StandingGateway(WEB, (), is_redirected=False, image=None)
    await keep(store_api)
    await gateway(store_api, "a").enter()
    found = await keeping.look(store_api, WEB)
    assert (found.is_redirected, found.image) == (True, "agent:1")
    assert {one.id: one.lease and one.lease.details for one in found.participants} == {
        "a": {"kind": "exchange", "ports": [80], "match": None},
        "k": {"kind": "keep", "ports": [], "match": None},
    }
    assert [one.id for one in found.keepers] == ["k"]
