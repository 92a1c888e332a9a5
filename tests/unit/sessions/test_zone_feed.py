"""The zone follows Services and EndpointSlices, as far as the user may see them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from ktpy.dns import zone as zones
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.sessions.zone_feed import feed_zone, try_command
from tests.kit.waiting import until
from tests.unit.kube.api_stub import ApiStub, forbidding, listed, watched

SERVICES, SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"
SHOP_SERVICES = "/api/v1/namespaces/shop/services"
SHOP_SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"


def named(name: str, version: str = "1") -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name, "resourceVersion": version}}


class Zone:
    """Writes down what it is told, in order for each kind of object."""

    def __init__(self) -> None:
        self.services: list[str] = []
        self.slices: list[str] = []
        self.seen: list[dict[str, Any]] = []
        self.scopes: list[set[str]] = []
        self._synced = asyncio.Event()

    def upsert_service(self, service: dict[str, Any]) -> None:
        self.services.append(f"+{service['metadata']['name']}")

    def delete_service(self, namespace: str, name: str) -> None:
        self.services.append(f"-{namespace}/{name}")

    def upsert_endpoint_slice(self, endpoint_slice: dict[str, Any]) -> None:
        self.slices.append(f"+{endpoint_slice['metadata']['name']}")

    def delete_endpoint_slice(self, namespace: str, name: str) -> None:
        self.slices.append(f"-{namespace}/{name}")

    def set_scope(self, namespaces: set[str]) -> None:
        self.scopes.append(namespaces)

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    @synced.setter
    def synced(self, value: bool) -> None:
        assert value
        self._synced.set()

    async def until_synced(self) -> None:
        async with asyncio.timeout(5):
            await self._synced.wait()


@asynccontextmanager
async def feeding(api: Api, zone: Zone) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(feed_zone(api, cast(Any, zone), zone.seen.append))
    yield task
    task.cancel()
    await asyncio.wait({task})


async def test_objects_and_their_changes_reach_the_zone(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {SERVICES}", listed(named("web")))
    stub.script(f"WATCH {SERVICES}", watched(("ADDED", named("db", "2")), ("DELETED", named("web", "3"))))
    stub.script(f"GET {SLICES}", listed(named("web-a")))
    stub.script(f"WATCH {SLICES}", watched(("DELETED", named("web-a", "2"))))
    zone = Zone()
    async with feeding(api, zone):
        await zone.until_synced()
        await until(lambda: len(zone.services + zone.slices) == 5)
    assert zone.services == ["+web", "+db", "-shop/web"]
    assert zone.slices == ["+web-a", "-shop/web-a"]
    assert [seen["metadata"]["name"] for seen in zone.seen] == ["web-a"]
    assert not zone.scopes


async def test_who_may_not_see_the_cluster_sees_the_namespace(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {SERVICES}", forbidding())
    stub.script(f"GET {SLICES}", forbidding())
    stub.script(f"GET {SHOP_SERVICES}", listed(named("web")))
    stub.script(f"WATCH {SHOP_SERVICES}", watched())
    stub.script(f"GET {SHOP_SLICES}", listed())
    stub.script(f"WATCH {SHOP_SLICES}", watched())
    zone = Zone()
    async with feeding(api, zone):
        await zone.until_synced()
    assert (zone.scopes, zone.services) == ([{"shop"}], ["+web"])


async def test_it_ends_when_it_is_cancelled_while_it_hears_that_it_may_not_see_the_cluster(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that may not do something else either would never end."""

    async def watch(_: Api, path: str, **__: bool) -> AsyncIterator[Any]:
        if path == SERVICES:
            raise Forbidden("Not these.")
        try:
            await asyncio.Event().wait()
        finally:
            task.cancel()
        yield

    monkeypatch.setattr("ktpy.sessions.zone_feed.watch", watch)
    task = asyncio.create_task(feed_zone(api, cast(zones.Zone, Zone()), lambda _: None))
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


async def test_who_may_see_nothing_is_told(stub: ApiStub, api: Api) -> None:
    for path in (SERVICES, SLICES, SHOP_SERVICES, SHOP_SLICES):
        stub.script(f"GET {path}", forbidding())
    zone = Zone()
    with pytest.raises(Forbidden):
        await feed_zone(api, cast(Any, zone), zone.seen.append)
    assert not zone.synced


def test_the_ready_screen_names_a_service_that_exists() -> None:
    zone = zones.Zone()
    assert try_command(zone, "shop") is None
    for name, port in (("db", 5432), ("web", 80), ("api", 9000)):
        spec = {"clusterIP": "10.96.0.7", "ports": [{"name": "http" if name == "api" else "", "port": port}]}
        zone.upsert_service({"metadata": {"namespace": "shop", "name": name}, "spec": spec})
    assert try_command(zone, "shop") == "curl http://api:9000/"
    zone.known_as = "east"
    assert try_command(zone, "shop") == "curl http://api.shop.svc.east:9000/"
    zone.known_as = None
    zone.delete_service("shop", "api")
    assert try_command(zone, "shop") == "curl http://web/"
    zone.delete_service("shop", "web")
    assert try_command(zone, "shop") is None
