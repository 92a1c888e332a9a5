import asyncio

import pytest

from ktpy.cluster.names import DETAILS
from ktpy.cluster.sharing.lease import OwnLease, expire, leases, release
from ktpy.errors import Forbidden, KtpyError, SessionLost, Unauthorized
from ktpy.kube.client import Api
from tests.unit.kube.object_store import LEASES, ObjectStore


def of(api: Api, session: str = "a") -> OwnLease:
    return OwnLease(api, session=session, owner="al@example.org", target="web")


async def age_s(api: Api, session: str = "a") -> float | None:
    return (await leases(api, "shop"))[session].age_s


async def test_a_lease_says_whose_it_is(store: ObjectStore, store_api: Api) -> None:
    await of(store_api).claim()
    [lease] = (await leases(store_api, None, target="web")).values()
    assert (lease.session, lease.owner, lease.target, lease.namespace) == ("a", "al@example.org", "web", "shop")
    assert lease.name == "ktpy-a"
    assert await leases(store_api, "shop", target="other") == {}


async def test_age_is_by_the_api_servers_clock_alone(store: ObjectStore, store_api: Api) -> None:
    """Its clock here is years off the laptop's."""
    await of(store_api).claim()
    assert await age_s(store_api) == 0
    store.pass_time(59)
    assert not (await leases(store_api, "shop"))["a"].is_expired()
    store.pass_time(2)
    assert (await leases(store_api, "shop"))["a"].is_expired()


async def test_renewing_makes_it_young(store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktpy.cluster.sharing.lease.RENEW_EVERY_S", 0.01)
    own = of(store_api)
    keeping = asyncio.create_task(own.keep())  # may begin before the claim
    await own.claim()
    store.pass_time(100)
    await store.until(lambda: "PATCH leases/ktpy-a" in store.writes)
    assert await age_s(store_api) == 0
    keeping.cancel()


async def test_others_see_which_local_ports_are_down(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ktpy.cluster.sharing.lease.RENEW_EVERY_S", 0.01)
    down = ["80", "53/UDP"]
    own = of(store_api)
    await own.claim()
    keeping = asyncio.create_task(own.keep(local_down=lambda: down))
    for expected in (("80", "53/UDP"), ()):
        store.writes.clear()
        await store.until(lambda: "PATCH leases/ktpy-a" in store.writes)
        assert (await leases(store_api, "shop"))["a"].local_down == expected
        down.clear()
        await store.until(lambda: store.writes.count("PATCH leases/ktpy-a") > 1)
    keeping.cancel()


async def test_a_session_that_was_taken_for_dead_learns_it(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ktpy.cluster.sharing.lease.RENEW_EVERY_S", 0.01)
    own = of(store_api)
    await own.claim()
    store.remove(LEASES, "ktpy-a")
    with pytest.raises(SessionLost, match="has been taken out of the cluster"):
        await asyncio.wait_for(own.keep(), 5)


@pytest.mark.parametrize("failure", [OSError("no route to host"), Unauthorized("expired"), Forbidden("no")])
async def test_a_session_that_cannot_renew_says_so(
    failure: Exception, store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("ktpy.cluster.sharing.lease.RENEW_EVERY_S", 0.01)
    monkeypatch.setattr("ktpy.cluster.sharing.lease.TELL_AFTER_S", 0.02)
    told: asyncio.Queue[tuple[float, KtpyError]] = asyncio.Queue()
    own = of(store_api)
    await own.claim()
    await store_api.close()
    monkeypatch.setattr(store_api._connections, "request", fail)
    keeping = asyncio.create_task(own.keep(lambda silence_s, error: told.put_nowait((silence_s, error))))
    silence_s, _ = await asyncio.wait_for(told.get(), 5)
    assert silence_s >= 0.02
    keeping.cancel()


async def test_the_verdict_is_refused_when_the_lease_was_renewed(store: ObjectStore, store_api: Api) -> None:
    for session in ("a", "b"):
        await of(store_api, session).claim()
    judged = list((await leases(store_api, "shop")).values())
    renewed = store.get(LEASES, "ktpy-b")
    assert renewed is not None
    store.put(LEASES, renewed)
    assert await expire(store_api, judged) == {"a"}
    assert store.names(LEASES) == ["ktpy-b"]


async def test_a_lease_without_times_is_left_alone(store: ObjectStore, store_api: Api) -> None:
    await of(store_api).claim()
    store._objects[LEASES, "ktpy-a"]["metadata"]["managedFields"] = []
    lease = (await leases(store_api, "shop"))["a"]
    assert lease.age_s is None
    assert not lease.is_expired()


async def test_releasing(store: ObjectStore, store_api: Api) -> None:
    own = of(store_api)
    await release(store_api, "shop", "a")  # never claimed
    await own.claim()
    await release(store_api, "shop", "a")
    assert store.names(LEASES) == []
    await release(store_api, "shop", "a")


async def test_what_a_session_does_is_data_unless_somebody_wrote_over_it(store: ObjectStore, store_api: Api) -> None:
    details = {"kind": "exchange", "ports": [80]}
    await OwnLease(store_api, session="a", owner="al", target="web", details=details).claim()
    assert (await leases(store_api, "shop"))["a"].details == details
    lease = store.get(LEASES, "ktpy-a") or {}
    lease["metadata"]["annotations"][DETAILS] = "[1"
    store.put(LEASES, lease)
    assert (await leases(store_api, "shop"))["a"].details == {}
