from collections.abc import Awaitable, Callable

import pytest

from ktpy.cluster.changes import http_route
from ktpy.cluster.changes.http_route import HttpRoute
from ktpy.errors import TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.cluster.changes.host_route_cases import GATEWAYS, ROUTES, admitting, put_gateway, take_route
from tests.unit.kube.object_store import NAMESPACES, ObjectStore

HOST = "pay.example.org"
PATH = f"{ROUTES}/pay"


async def chosen(api: Api, wanted: str | None = None) -> str:
    """The Gateway that the route of a preview in namespace shop would name."""
    route = HttpRoute(api, HOST, wanted)
    await route.choose()
    [parent] = route.document({"name": "pay"}, 80)["spec"]["parentRefs"]
    return f"{parent['namespace']}/{parent['name']}"


async def refused(api: Api, wanted: str | None = None) -> str:
    with pytest.raises(TargetUnsuitable) as refusal:
        await chosen(api, wanted)
    assert refusal.value.hint
    return refusal.value.message


class TestChoice:
    async def test_the_only_one_that_takes_the_route(self, store: ObjectStore, store_api: Api) -> None:
        put_gateway(store, "closed", namespace="infra")
        put_gateway(store, "edge", admitting("All"), namespace="other")
        assert await chosen(store_api) == "other/edge"

    @pytest.mark.parametrize("wanted", ["edge", "infra/edge"])
    async def test_the_one_that_is_named(self, store: ObjectStore, store_api: Api, wanted: str) -> None:
        put_gateway(store, "edge", admitting("All"), namespace="infra")
        put_gateway(store, "own")
        assert await chosen(store_api, wanted) == "infra/edge"

    async def test_several(self, store: ObjectStore, store_api: Api) -> None:
        put_gateway(store, "edge", admitting("All"), namespace="infra")
        put_gateway(store, "own")
        assert await refused(store_api) == f"Several Gateways take a route for {HOST}: infra/edge, shop/own."

    async def test_none_takes_it(self, store: ObjectStore, store_api: Api) -> None:
        put_gateway(store, "edge", namespace="infra")
        put_gateway(store, "own", {"hostname": "web.example.org"})
        assert await refused(store_api) == (
            f"No Gateway takes a route for {HOST} from namespace shop (infra/edge: it takes no route from namespace "
            "shop; shop/own: it listens for web.example.org)."
        )

    async def test_the_one_that_is_named_does_not_take_it(self, store: ObjectStore, store_api: Api) -> None:
        put_gateway(store, "edge", namespace="infra")
        put_gateway(store, "own")
        assert "(infra/edge: " in await refused(store_api, "edge")

    @pytest.mark.parametrize(("wanted", "which"), [("edge", " edge"), ("infra/edge", " infra/edge")])
    async def test_it_does_not_exist(self, store: ObjectStore, store_api: Api, wanted: str, which: str) -> None:
        put_gateway(store, "own")
        expected = f"The cluster has no Gateway{which}, which would serve an HTTPRoute; there are shop/own."
        assert await refused(store_api, wanted) == expected

    async def test_there_are_none(self, store_api: Api) -> None:
        assert await refused(store_api) == "The cluster has no Gateway, which would serve an HTTPRoute."

    async def test_no_gateway_api(self, store: ObjectStore, store_api: Api) -> None:
        store.absent.add(GATEWAYS)
        assert "has no Gateway API (gateway.networking.k8s.io/v1)" in await refused(store_api, "infra/edge")

    async def test_of_a_namespace_by_its_labels(self, store: ObjectStore, store_api: Api) -> None:
        put_gateway(store, "edge", admitting("Selector", selector={"matchLabels": {"tier": "dev"}}), namespace="infra")
        assert "takes no route from namespace shop" in await refused(store_api)
        store.put(NAMESPACES, {"metadata": {"name": "shop", "labels": {"tier": "dev"}}})
        assert await chosen(store_api) == "infra/edge"


class TestRights:
    async def test_only_those_of_the_own_namespace(self, store: ObjectStore, store_api: Api) -> None:
        store.forbidden.add(f"list {GATEWAYS}")
        put_gateway(store, "edge")
        store.put(f"{ROUTES.rpartition('/')[0]}/gateways", store.get(GATEWAYS, "edge") or {})
        assert await chosen(store_api) == "shop/edge"

    @pytest.mark.parametrize(
        ("wanted", "place", "which"),
        [(None, "shop", ""), ("edge", "shop", " edge"), ("infra/edge", "infra", " infra/edge")],
    )
    async def test_none_where_one_may_look_is_not_none_in_the_cluster(
        self, store: ObjectStore, store_api: Api, wanted: str | None, place: str, which: str
    ) -> None:
        store.forbidden.add(f"list {GATEWAYS}")
        assert await refused(store_api, wanted) == (
            f"Namespace {place}, which is all that you may see of the cluster's Gateways, has no Gateway{which}, "
            "which would serve an HTTPRoute."
        )

    async def test_none_at_all(self, store: ObjectStore, store_api: Api) -> None:
        store.forbidden.add("list gateways")
        assert await refused(store_api) == "You may not see which Gateways the cluster has."

    @pytest.mark.parametrize(("wanted", "taken"), [("edge", "shop/edge"), ("infra/edge", "infra/edge")])
    async def test_one_that_is_named_is_believed(
        self, store: ObjectStore, store_api: Api, wanted: str, taken: str
    ) -> None:
        store.forbidden.add("list gateways")
        assert await chosen(store_api, wanted) == taken

    async def test_labels_that_may_not_be_seen(self, store: ObjectStore, store_api: Api) -> None:
        store.forbidden.add("get namespaces")
        put_gateway(store, "edge", admitting("Selector", selector={"matchLabels": {"tier": "dev"}}), namespace="infra")
        assert await chosen(store_api) == "infra/edge"


def give_up_after_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller's time is over once the route has been looked at."""

    async def poll_once(condition: Callable[[], Awaitable[bool]], within_s: float) -> bool:
        assert within_s == http_route.TAKEN_WITHIN_S
        return await condition()

    monkeypatch.setattr(http_route, "poll_until", poll_once)


class TestSettling:
    @pytest.fixture
    async def route(self, store: ObjectStore, store_api: Api) -> HttpRoute:
        """One that has been made, and of which nobody has said anything."""
        put_gateway(store, "edge", admitting("All"), namespace="infra")
        route = HttpRoute(store_api, HOST, None)
        await route.choose()
        made: Json = route.document({"name": "pay"}, 80)
        assert made["spec"]["hostnames"] == [HOST]
        assert made["spec"]["rules"] == [{"backendRefs": [{"name": "pay", "port": 80}]}]
        store.put(ROUTES, made)
        return route

    async def test_it_is_taken_at_last(self, store: ObjectStore, route: HttpRoute) -> None:
        store.before["GET httproutes/pay"] = [
            lambda: take_route(store, "other", "edge"),  # of another Gateway
            lambda: take_route(store, "infra", "edge", ResolvedRefs="False"),
            lambda: take_route(store, "infra", "edge"),
        ]
        assert await route.settle(PATH)
        assert route.notices == []
        assert store.before["GET httproutes/pay"] == []

    async def test_it_is_not_accepted(self, store: ObjectStore, route: HttpRoute) -> None:
        take_route(store, "infra", "edge", Accepted="False")
        with pytest.raises(TargetUnsuitable) as refusal:
            await route.settle(PATH)
        assert refusal.value.message == (
            f"Gateway infra/edge does not take the route for {HOST} (AcceptedReason): so it is."
        )

    async def test_the_service_is_not_found(
        self, store: ObjectStore, route: HttpRoute, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give_up_after_first(monkeypatch)
        take_route(store, "infra", "edge", ResolvedRefs="False")
        with pytest.raises(TargetUnsuitable, match="ResolvedRefsReason"):
            await route.settle(PATH)

    async def test_nobody_says_anything(self, route: HttpRoute, monkeypatch: pytest.MonkeyPatch) -> None:
        give_up_after_first(monkeypatch)
        assert not await route.settle(PATH)
        [notice] = route.notices
        assert "Gateway infra/edge has not said within" in notice
