"""Entering and leaving, against an API that has the real one's preconditions; the real one: e2e/test_intercept_*.py."""

import asyncio
import json
from dataclasses import replace

import pytest

from ktpy.cluster.changes import gateway_manifest
from ktpy.cluster.changes.gateway import GATEWAY as GATEWAY_KIND
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.cluster.names import GATEWAY
from ktpy.cluster.service import service_state
from ktpy.cluster.service.ports import ExposeOption
from ktpy.errors import NameTaken, TargetUnsuitable
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import (
    KEY,
    REDIRECTED,
    assert_as_before,
    essence,
    furnish,
    gateway,
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
    assert gateway_manifest.proxied(origin) is None
    spec = json.loads((store.get(PODS, "web-ktpy-gateway-pod") or {})["metadata"]["annotations"][GATEWAY])
    assert spec["origin"] == {"host": origin["spec"]["clusterIP"]}
    await own.leave(steps.append)
    assert steps == ENTRY + EXIT
    assert_as_before(store, before)


async def test_the_order_of_entry(store: ObjectStore, store_api: Api) -> None:
    """Whatever the Service's traffic needs is there before the Service changes, and the Lease before everything."""
    furnish(store)
    await gateway(store_api, "a").enter()
    assert store.writes == [
        "POST leases/ktpy-a",
        "POST services/web-ktpy-origin",
        "POST deployments/web-ktpy-gateway",
        "PATCH pods/web-ktpy-gateway-pod",
        "PATCH services/web-ktpy-origin",
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
    assert_as_before(store, before)


async def test_who_joins_and_who_leaves_others_is_told_only_what_was_done(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    first, second = gateway(store_api, "a"), gateway(store_api, "b")
    await first.enter()
    told: list[str] = []
    await second.enter(told.append)
    assert told == ["claim a lease", "wait for a gateway pod", "wait for the endpoints"]
    told.clear()
    await first.leave(told.append)
    assert told == ["find dead sessions", "wait for the endpoints", "withdraw the key", "delete the lease"]


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
    assert_as_before(store, before)


async def test_leaving_twice(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    own = gateway(store_api, "a")
    await own.enter()
    await own.leave()
    await own.leave()
    assert essence(store) == before


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

    async def test_a_service_of_the_origins_name(self, store: ObjectStore, store_api: Api) -> None:
        before = furnish(store)
        store.put(SERVICES, service("web-ktpy-origin"))
        own = gateway(store_api, "a")
        with pytest.raises(NameTaken):
            await own.enter()
        await own.leave()
        assert essence(store) == before
        assert store.names(SERVICES) == ["web", "web-ktpy-origin"]


async def test_a_gateway_may_run_where_the_pods_run_that_it_stands_before(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    gpu = {"key": "gpu", "operator": "Exists"}
    store.put(PODS, pod("web-1", app="web") | {"spec": {"nodeSelector": {"disk": "ssd"}, "tolerations": [gpu]}})
    options = InterceptOptions("exchange", "web", (ExposeOption(3001, "80"),))
    made = await GATEWAY_KIND.prepare(store_api, options)
    assert made.placement == {"spec": {"nodeSelector": {"disk": "ssd"}, "tolerations": [gpu]}}
    store.forbidden.add("list pods")
    assert (await GATEWAY_KIND.prepare(store_api, options)).placement == {"spec": {}}


async def test_a_service_that_would_serve_itself_is_refused_before_anything_is_made(
    store: ObjectStore, store_api: Api
) -> None:
    furnish(store)
    found = store.get(SERVICES, "web") or {}
    found["spec"]["clusterIPs"] = ["127.0.0.9"]
    store.put(SERVICES, found)
    options = InterceptOptions("exchange", "web", (ExposeOption(80, "80", "127.0.0.9"),))
    writes = list(store.writes)
    with pytest.raises(TargetUnsuitable, match="leads to service web itself"):
        await GATEWAY_KIND.prepare(store_api, options)
    assert store.writes == writes


async def test_before_pods_of_a_mesh_somebody_has_to_say_whether_the_gateway_is_part_of_it(
    store: ObjectStore, store_api: Api
) -> None:
    furnish(store)
    store.put(PODS, pod("web-1", app="web") | {"spec": {"containers": [{"name": "istio-proxy"}]}})
    options = InterceptOptions("exchange", "web", (ExposeOption(3001, "80"),))
    with pytest.raises(TargetUnsuitable, match="part of a service mesh"):
        await GATEWAY_KIND.prepare(store_api, options)
    assert (await GATEWAY_KIND.prepare(store_api, replace(options, in_mesh=False))).placement == {"spec": {}}
    joined = await GATEWAY_KIND.prepare(store_api, replace(options, in_mesh=True))
    assert joined.placement["metadata"]["labels"]["sidecar.istio.io/inject"] is None
    await gateway(store_api, "a").enter()
    await GATEWAY_KIND.prepare(store_api, options)  # a gateway stands, and somebody has decided
