"""A gateway that is there already, and fits or does not; one whose pods take long."""

import asyncio
from typing import Any

import pytest

from ktpy.cluster.changes import gateway_entry, gateway_manifest
from ktpy.cluster.changes.gateway_pods import GatewayPods
from ktpy.cluster.names import GATEWAY, holder_annotation
from ktpy.cluster.service.ports import AppProtocol, PortMapping
from ktpy.errors import GatewayMismatch
from ktpy.kube.client import Api
from ktpy.wire.route import Match
from ktpy.wire.version import VERSION
from tests.unit.cluster.gateway_cases import (
    REDIRECTED,
    essence,
    furnish,
    gateway,
    is_clean,
    of_version,
    selector,
    service,
)
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, SERVICES, ObjectStore


async def test_nobody_alive_uses_it(store: ObjectStore, store_api: Api) -> None:
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
async def test_somebody_uses_it(store: ObjectStore, store_api: Api, plan: dict[str, Any], problem: str) -> None:
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


@pytest.mark.parametrize("version", [VERSION - 2, VERSION + 2])
async def test_somebody_of_a_far_version_uses_it(store: ObjectStore, store_api: Api, version: int) -> None:
    furnish(store)
    await gateway(store_api, "b", "bo").enter()
    of_version(store, version)
    own = gateway(store_api, "a")
    with pytest.raises(GatewayMismatch, match="in use by bo, and it is of another version of ktpy"):
        await own.enter()
    await own.leave()


async def test_joining_a_gateway_in_use_reads_each_object_once_and_creates_none(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(store)
    await gateway(store_api, "b").enter()
    asked: list[str] = []
    send = Api.request

    async def request(self: Api, method: str, path: str, **options: Any) -> Any:
        asked.append(f"{method} {path.rpartition('/')[2]}")
        return await send(self, method, path, **options)

    monkeypatch.setattr(Api, "request", request)
    await gateway(store_api, "a").enter()
    reads = ["GET web", "GET web-ktpy-origin", "GET web-ktpy-gateway"]
    assert sorted(asked[1:4]) == sorted(reads)
    joining = ["POST leases", *asked[1:4], "PATCH web-ktpy-origin", "PATCH web-ktpy-gateway", "GET web", "PATCH web"]
    assert asked[: len(joining)] == joining
    assert not set(asked[len(joining) :]) - {"PATCH web", "GET pods", "GET endpointslices"}


async def test_pods_that_take_long_do_not_keep_the_origin_service_from_kube_proxy(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take_for_ever(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(gateway_entry, "UNPROXIED_S", 0.01)
    monkeypatch.setattr(GatewayPods, "until_ready", take_for_ever)
    furnish(store)
    entering = asyncio.create_task(gateway(store_api, "a").enter())
    await store.until(lambda: "PATCH services/web-ktpy-origin" in store.writes)
    assert gateway_manifest.proxied(store.get(SERVICES, "web-ktpy-origin") or {}) is None
    entering.cancel()
