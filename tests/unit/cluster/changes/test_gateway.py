"""Entering and leaving, against an API that has the real one's preconditions; the real one: e2e/test_intercept_*.py."""

import asyncio
import json
from typing import Any

import pytest

from ktpy.cluster.changes import gateway_exit
from ktpy.cluster.names import GATEWAY, INTERCEPTED, holder_annotation
from ktpy.cluster.service import service_state
from ktpy.cluster.service.ports import AppProtocol, PortMapping
from ktpy.errors import GatewayMismatch, NameTaken, RestoreIncomplete, SessionLost, TargetAbsent, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.wire.route import Match
from tests.unit.cluster.gateway_cases import (
    KEY,
    REDIRECTED,
    essence,
    furnish,
    gateway,
    is_clean,
    pod,
    selector,
    service,
)
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, SERVICES, ObjectStore

ENTRY = [
    "claim a lease",
    "create the origin service",
    "create the gateway",
    "wait for a gateway pod",
    "redirect the service",
    "wait for the endpoints",
]
EXIT = [
    "find dead sessions",
    "restore the service",
    "wait for the endpoints",
    "withdraw the key",
    "delete the gateway",
    "wait for its pods",
    "delete the origin service",
    "delete the lease",
]


async def test_one_comes_and_goes(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    own = gateway(store_api, "a")
    steps: list[str] = []
    await own.enter(steps.append)
    assert steps == ENTRY
    assert selector(store) == REDIRECTED
    origin = store.get(SERVICES, "web-ktpy-origin")
    assert origin is not None
    assert origin["spec"]["selector"] == {"app": "web"}
    spec = json.loads((store.get(PODS, "web-ktpy-gateway-pod") or {})["metadata"]["annotations"][GATEWAY])
    assert spec["origin"] == {"host": origin["spec"]["clusterIP"]}
    await own.leave(steps.append)
    assert steps == ENTRY + EXIT
    assert essence(store) == before
    assert is_clean(store)


async def test_the_order_of_entry(store: ObjectStore, store_api: Api) -> None:
    """Whatever the Service's traffic needs is there before the Service changes, and the Lease before everything."""
    furnish(store)
    await gateway(store_api, "a").enter()
    assert store.writes == [
        "POST leases/ktpy-a",
        "POST services/web-ktpy-origin",
        "POST deployments/web-ktpy-gateway",
        "PATCH pods/web-ktpy-gateway-pod",
        "PATCH services/web",
    ]


async def test_the_order_of_exit(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    own = gateway(store_api, "a")
    await own.enter()
    store.writes.clear()
    await own.leave()
    assert store.writes == [
        "PATCH services/web",
        "PATCH pods/web-ktpy-gateway-pod",
        "PATCH deployments/web-ktpy-gateway",
        "DELETE deployments/web-ktpy-gateway",
        "PATCH services/web-ktpy-origin",
        "DELETE services/web-ktpy-origin",
        "DELETE leases/ktpy-a",
    ]


async def test_two_at_the_same_instant(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    first, second = gateway(store_api, "a"), gateway(store_api, "b")
    await asyncio.gather(first.enter(), second.enter())
    assert [one for one in store.writes if one.startswith("POST deploy")] == ["POST deployments/web-ktpy-gateway"]
    assert set(service_state.read(store.get(SERVICES, "web") or {}).sessions) == {"a", "b"}  # type: ignore[union-attr]
    keys = (store.get(PODS, "web-ktpy-gateway-pod") or {})["metadata"]["annotations"]
    assert {f"ktpy.dev/authorized-key.{one}": KEY for one in "ab"}.items() <= keys.items()
    await asyncio.gather(first.leave(), second.leave())
    assert essence(store) == before
    assert is_clean(store)


async def test_who_stays_keeps_the_gateway(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    first, second = gateway(store_api, "a"), gateway(store_api, "b")
    await first.enter()
    await second.enter()
    await first.leave()
    assert selector(store) == REDIRECTED
    assert store.names(DEPLOYMENTS) == ["web-ktpy-gateway"]
    assert store.names(LEASES) == ["ktpy-b"]
    keys = (store.get(PODS, "web-ktpy-gateway-pod") or {})["metadata"]["annotations"]
    assert "ktpy.dev/authorized-key.a" not in keys


@pytest.mark.parametrize("done", range(len(ENTRY) + 1))
async def test_leaving_undoes_an_entry_that_stopped_anywhere(store: ObjectStore, store_api: Api, done: int) -> None:
    before = furnish(store)
    own = gateway(store_api, "a")
    for step in own.entry[:done]:
        await step.run()
    await own.leave()
    assert essence(store) == before
    assert is_clean(store)


async def test_leaving_twice(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    own = gateway(store_api, "a")
    await own.enter()
    await own.leave()
    await own.leave()
    assert essence(store) == before


async def test_the_dead_leave_with_the_last_living(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    await gateway(store_api, "dead").enter()
    store.pass_time(61)
    own = gateway(store_api, "a")
    await own.enter()
    await own.leave()
    assert essence(store) == before
    assert is_clean(store)


async def test_the_living_are_not_taken_along(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    other, own = gateway(store_api, "b"), gateway(store_api, "a")
    await other.enter()
    store.pass_time(59)
    await own.enter()
    await own.leave()
    assert selector(store) == REDIRECTED
    assert store.names(LEASES) == ["ktpy-b"]


class TestWhatOthersDoMeanwhile:
    async def test_the_service_changes_under_our_hands(self, store: ObjectStore, store_api: Api) -> None:
        furnish(store)
        changed = service()
        changed["metadata"]["labels"]["team"] = "b"
        store.before["PATCH services/web"] = [lambda: store.put(SERVICES, changed)]
        await gateway(store_api, "a").enter()
        assert essence(store)["metadata"]["labels"] == {"team": "b"}
        assert selector(store) == REDIRECTED

    async def test_the_selector_changes_before_the_redirection(self, store: ObjectStore, store_api: Api) -> None:
        """The origin follows: it must never lead to pods the Service no longer selects."""
        furnish(store)
        store.put(PODS, pod("web-2", app="web2"))
        store.before["PATCH services/web"] = [lambda: store.put(SERVICES, service(selector={"app": "web2"}))]
        own = gateway(store_api, "a")
        await own.enter()
        assert (store.get(SERVICES, "web-ktpy-origin") or {})["spec"]["selector"] == {"app": "web2"}
        await own.leave()
        assert selector(store) == {"app": "web2"}

    async def test_the_ports_change_before_the_redirection(self, store: ObjectStore, store_api: Api) -> None:
        furnish(store)
        own = gateway(store_api, "a")
        for step in own.entry[:4]:
            await step.run()
        store.put(SERVICES, service(ports=[{"port": 81, "protocol": "TCP", "targetPort": 81}]))
        with pytest.raises(TargetUnsuitable, match="ports of service web have changed"):
            await own.entry[4].run()

    async def test_the_service_is_deleted(self, store: ObjectStore, store_api: Api) -> None:
        furnish(store)
        own = gateway(store_api, "a")
        await own.enter()
        store.remove(SERVICES, "web")
        await own.leave()
        assert store.names(SERVICES) == store.names(DEPLOYMENTS) == store.names(LEASES) == []

    async def test_endpoints_that_never_move_keep_the_gateway(
        self, store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
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

    async def test_a_service_of_the_origins_name(self, store: ObjectStore, store_api: Api) -> None:
        before = furnish(store)
        store.put(SERVICES, service("web-ktpy-origin"))
        own = gateway(store_api, "a")
        with pytest.raises(NameTaken):
            await own.enter()
        await own.leave()
        assert essence(store) == before
        assert store.names(SERVICES) == ["web", "web-ktpy-origin"]


class TestAGatewayThatDoesNotFit:
    async def test_nobody_alive_uses_it(self, store: ObjectStore, store_api: Api) -> None:
        before = furnish(store)
        await gateway(store_api, "dead").enter()
        store.pass_time(61)
        more = [*service()["spec"]["ports"], {"port": 81, "name": "http-b", "protocol": "TCP", "targetPort": 81}]
        found = store.get(SERVICES, "web") or {}
        found["spec"]["ports"] = more
        store.put(SERVICES, found)
        own = gateway(store_api, "a", exposed=(PortMapping(3001, 81),))
        await own.enter()
        deployment = store.get(DEPLOYMENTS, "web-ktpy-gateway") or {}
        assert holder_annotation("dead") not in deployment["metadata"]["annotations"]
        assert '"port":81' in deployment["spec"]["template"]["metadata"]["annotations"][GATEWAY]
        assert selector(store) == REDIRECTED
        await own.leave()
        assert essence(store)["metadata"] == before["metadata"]
        assert is_clean(store)

    @pytest.mark.parametrize(
        ("plan", "problem"),
        [
            ({"match": Match(path_prefix="/")}, "it relays port 81 as plain TCP"),
            ({"protocol": AppProtocol.HTTP}, "it relays port 81 as plain TCP"),
        ],
    )
    async def test_somebody_uses_it(
        self, store: ObjectStore, store_api: Api, plan: dict[str, Any], problem: str
    ) -> None:
        furnish(store)
        plain = [{"port": 81, "name": "b", "protocol": "TCP", "targetPort": 81}]
        store.put(SERVICES, service(ports=plain))
        await gateway(store_api, "b", "bo", exposed=(PortMapping(3001, 81),)).enter()
        own = gateway(store_api, "a", exposed=(PortMapping(3001, 81),), **plan)
        with pytest.raises(GatewayMismatch, match=f"in use by bo, and {problem}"):
            await own.enter()
        await own.leave()
        assert selector(store) == REDIRECTED
        assert store.names(LEASES) == ["ktpy-b"]


class TestGuard:
    async def guarded(self, store: ObjectStore, api: Api) -> tuple["asyncio.Future[None]", "asyncio.Queue[str]"]:
        furnish(store)
        own = gateway(api, "a")
        await own.enter()
        told: asyncio.Queue[str] = asyncio.Queue()
        assert own.guard is not None
        guarding = asyncio.ensure_future(own.guard(told.put_nowait))
        return guarding, told

    async def test_a_selector_that_somebody_adds_to_is_mended(self, store: ObjectStore, store_api: Api) -> None:
        guarding, told = await self.guarded(store, store_api)
        found = store.get(SERVICES, "web") or {}
        found["spec"]["selector"] |= {"tier": "front"}
        store.put(SERVICES, found)
        assert "mended" in await asyncio.wait_for(told.get(), 5)
        await store.until(lambda: selector(store) == REDIRECTED)
        guarding.cancel()

    async def test_a_manifest_applied_over_it_once_is_redirected_and_twice_is_left(
        self, store: ObjectStore, store_api: Api
    ) -> None:
        guarding, told = await self.guarded(store, store_api)

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

    async def test_given_back_by_somebody(self, store: ObjectStore, store_api: Api) -> None:
        """As `ktpy recover --evict` does: nothing is to be made anew then."""
        guarding, _ = await self.guarded(store, store_api)
        found = store.get(SERVICES, "web") or {}
        found["spec"]["selector"] = {"app": "web"}
        del found["metadata"]["annotations"][INTERCEPTED]
        store.put(SERVICES, found)
        with pytest.raises(SessionLost, match="given service web back"):
            await asyncio.wait_for(guarding, 5)

    async def test_taken_out_by_somebody(self, store: ObjectStore, store_api: Api) -> None:
        guarding, _ = await self.guarded(store, store_api)
        found = store.get(SERVICES, "web") or {}
        note = found["metadata"]["annotations"]
        note[INTERCEPTED] = note[INTERCEPTED].replace('["a"]', '["b"]')
        store.put(SERVICES, found)
        with pytest.raises(SessionLost):
            await asyncio.wait_for(guarding, 5)

    async def test_the_service_is_deleted(self, store: ObjectStore, store_api: Api) -> None:
        guarding, _ = await self.guarded(store, store_api)
        store.remove(SERVICES, "web")
        with pytest.raises(TargetAbsent):
            await asyncio.wait_for(guarding, 5)

    async def test_a_gateway_that_was_deleted_is_made_anew(self, store: ObjectStore, store_api: Api) -> None:
        guarding, told = await self.guarded(store, store_api)
        store.remove(DEPLOYMENTS, "web-ktpy-gateway")
        assert "makes it anew" in await asyncio.wait_for(told.get(), 5)
        await store.until(lambda: store.names(DEPLOYMENTS) == ["web-ktpy-gateway"])
        guarding.cancel()

    async def test_an_origin_that_was_deleted_comes_back_where_it_was(self, store: ObjectStore, store_api: Api) -> None:
        """Its address is what the gateway's pods know of it."""
        guarding, told = await self.guarded(store, store_api)
        origin = store.get(SERVICES, "web-ktpy-origin") or {}
        store.remove(SERVICES, "web-ktpy-origin")
        assert "web-ktpy-origin; ktpy makes it anew" in await asyncio.wait_for(told.get(), 5)
        await store.until(lambda: store.get(SERVICES, "web-ktpy-origin") is not None)
        again = store.get(SERVICES, "web-ktpy-origin") or {}
        assert again["spec"] == origin["spec"]
        assert again["metadata"]["uid"] != origin["metadata"]["uid"]
        guarding.cancel()
