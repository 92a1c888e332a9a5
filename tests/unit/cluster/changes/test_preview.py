import asyncio
import re
from contextlib import aclosing
from typing import Any

import pytest

from ktpy.cluster.changes import preview
from ktpy.cluster.changes.change import ClusterChange
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.cluster.names import GATEWAY, authorized_sessions
from ktpy.cluster.service.ports import AppProtocol, ExposeOption, PortMapping, parse_expose
from ktpy.errors import Forbidden, KtpyError, NameTaken, PortUnknown, RouteTaken, TargetUnsuitable
from ktpy.kube.client import Api
from tests.unit.cluster.changes.host_route_cases import put_class, put_gateway, take_route
from tests.unit.cluster.gateway_cases import furnish, identity, plan
from tests.unit.cluster.gateway_cases import preview as preview_of
from tests.unit.kube.api_stub import refused
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, SERVICES, ObjectStore

INGRESSES = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes"


def of(api: Api, session: str = "a", **options: Any) -> ClusterChange:
    return preview_of(api, session, PortMapping(3001, 8080), **options)


async def test_it_comes_and_goes(store: ObjectStore, store_api: Api) -> None:
    own = of(store_api)
    await own.enter()
    service = store.get(SERVICES, "pay") or {}
    assert service["spec"]["selector"] == {GATEWAY: "pay"}
    [port] = service["spec"]["ports"]
    assert (port["port"], port["targetPort"], port["appProtocol"]) == (8080, 8080, "http")
    annotations = (store.get(PODS, "pay-ktpy-gateway-pod") or {})["metadata"]["annotations"]
    assert '"origin":null' in annotations[GATEWAY]
    await own.leave()
    assert store.names(SERVICES) == store.names(DEPLOYMENTS) == store.names(LEASES) == []


async def test_another_protocol_than_http(store: ObjectStore, store_api: Api) -> None:
    await of(store_api, protocol=AppProtocol.TCP).enter()
    [port] = (store.get(SERVICES, "pay") or {})["spec"]["ports"]
    assert "appProtocol" not in port


async def test_the_name_of_a_service(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    own = preview_of(store_api, "a", PortMapping(1, 1), name="web")
    with pytest.raises(NameTaken, match="A service web exists in namespace shop already"):
        await own.enter()
    await own.leave()
    assert store.names(SERVICES) == ["web"]
    assert store.names(LEASES) == []


async def test_two_want_one_name_at_the_same_instant(store: ObjectStore, store_api: Api) -> None:
    first, second = of(store_api, "a"), of(store_api, "b")
    outcomes = await asyncio.gather(first.enter(), second.enter(), return_exceptions=True)
    [refused] = [one for one in outcomes if isinstance(one, BaseException)]
    assert isinstance(refused, NameTaken)
    assert "has a preview pay in namespace shop already" in refused.message
    loser = (first, second)[outcomes.index(refused)]
    await loser.leave()
    assert store.names(SERVICES) == ["pay"]
    assert store.names(DEPLOYMENTS) == ["pay-ktpy-gateway"]


HOSTS = {"ingress_host": "pay.example.org", "gateway_route_host": "pay.example.org"}
STEPS = 10
"""Of a preview with both: two choices, lease, Service, gateway, two objects, the pod, and two waits."""


@pytest.mark.parametrize("done", range(STEPS + 1))
async def test_leaving_undoes_an_entry_that_stopped_anywhere(store: ObjectStore, store_api: Api, done: int) -> None:
    put_class(store, "nginx")
    put_gateway(store, "edge")
    store.before["GET httproutes/pay"] = [lambda: take_route(store, "shop", "edge")]
    own = of(store_api, **HOSTS)
    assert len(own.entry) == STEPS
    for step in own.entry[:done]:
        await step.run()
    await own.leave()
    for collection in (SERVICES, DEPLOYMENTS, LEASES, INGRESSES, ROUTES):
        assert store.names(collection) == []


@pytest.mark.parametrize(("collection", "kind"), [(INGRESSES, "ingress"), (ROUTES, "HTTPRoute")])
async def test_the_name_of_another_route(store: ObjectStore, store_api: Api, collection: str, kind: str) -> None:
    put_class(store, "nginx")
    put_gateway(store, "edge")
    store.put(collection, {"metadata": {"name": "pay"}})
    own = of(store_api, **HOSTS)
    with pytest.raises(NameTaken, match=f"An {kind} pay exists") as taken:
        await own.enter()
    assert "choose another name" in (taken.value.hint or "")
    await own.leave()
    assert store.names(collection) == ["pay"]


async def test_what_a_route_has_to_say_is_told_once_it_stands(store: ObjectStore, store_api: Api) -> None:
    own = of(store_api)
    entry = preview.PreviewEntry(store_api, plan("pay", kind="preview", **HOSTS), identity("a"), own.pods, print)
    entry.routes[1].notices.append("unanswered")
    told: list[str] = []
    assert own.guard is not None
    telling = asyncio.create_task(entry.tell_notices(told.append))
    await store.until(lambda: bool(told))
    telling.cancel()
    assert told == ["unanswered"]


async def prepared(api: Api, name: str) -> str:
    plan = await preview.prepare(api, InterceptOptions("preview", name, (ExposeOption(3001),)))
    return plan.interceptee.name


@pytest.mark.parametrize("name", ["pay", "p", "pay-2", "a" * 63])
async def test_a_name(store: ObjectStore, store_api: Api, name: str) -> None:
    assert await prepared(store_api, name) == name
    assert store.writes == []
    assert store.names(SERVICES) == []


@pytest.mark.parametrize("name", ["", "Pay", "2pay", "pay-", "-pay", "pay_1", "päy", "pay.x", "a" * 64])
async def test_no_name(store_api: Api, name: str) -> None:
    with pytest.raises(TargetUnsuitable, match=r"cannot be the name of a service: .*metadata\.name"):
        await prepared(store_api, name)


async def test_what_the_api_server_takes_decides(store: ObjectStore, store_api: Api) -> None:
    store.service_name = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")
    assert await prepared(store_api, "2new") == "2new"
    own = preview_of(store_api, "a", PortMapping(1, 1), name="2new")
    await own.enter()
    assert store.names(SERVICES) == ["2new"]
    assert [re.fullmatch("[a-z][-a-z0-9]*[a-z0-9]", name) for name in store.names(DEPLOYMENTS)] != [None]
    await own.leave()
    assert store.names(SERVICES) == store.names(DEPLOYMENTS) == []


async def test_who_may_not_create_services_is_told_before_anything_is_noted(store: ObjectStore, store_api: Api) -> None:
    store.forbidden.add("post services")
    with pytest.raises(Forbidden):
        await prepared(store_api, "pay")


async def test_a_webhook_that_knows_no_dry_run_has_not_refused(store: ObjectStore, store_api: Api) -> None:
    store.dry_run = (400, refused(400, 'webhook "x" does not support dry run'))
    assert await prepared(store_api, "pay") == "pay"


async def test_whose_the_name_is_is_told_when_it_is_needed(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    assert await prepared(store_api, "web") == "web"


async def test_my_own_second_preview(store: ObjectStore, store_api: Api) -> None:
    await of(store_api, "a", owner="al@laptop").enter()
    with pytest.raises(NameTaken, match="You have a preview pay in namespace shop already") as taken:
        await of(store_api, "b", owner="al@laptop").enter()
    assert "ktpy leave pay" in str(taken.value.hint)


async def test_a_second_preview_does_not_let_itself_in_to_the_first(store: ObjectStore, store_api: Api) -> None:
    first, second = of(store_api, "a"), of(store_api, "b")
    await first.enter()
    for change, sees in ((second, []), (first, ["pay-ktpy-gateway-pod"])):
        async with aclosing(change.pods.follow()) as states:
            assert [pod.name for pod in await anext(states)] == sees
    keys = authorized_sessions((store.get(PODS, "pay-ktpy-gateway-pod") or {})["metadata"]["annotations"])
    assert keys == {"a"}


async def test_only_what_was_done_is_told(store: ObjectStore, store_api: Api) -> None:
    told: list[str] = []
    own = of(store_api)
    await own.enter(told.append)
    await own.leave(told.append)
    assert told == [
        "claim a lease",
        "create the service",
        "create the gateway",
        "wait for a gateway pod",
        "delete the service",
        "delete the gateway",
        "delete the lease",
    ]


def test_ports() -> None:
    assert preview.preview_ports(parse_expose(["3001:8080,9090"])) == (PortMapping(3001, 8080), PortMapping(9090, 9090))


def test_a_udp_port_beside_the_tcp_port_of_its_number() -> None:
    tcp, udp = preview.preview_ports(parse_expose(["5353:53,5353:53/udp"]))
    assert (tcp, udp) == (PortMapping(5353, 53), PortMapping(5353, 53, None, "UDP"))


async def test_udp_ports_of_the_service(store: ObjectStore, store_api: Api) -> None:
    await preview_of(store_api, "a", PortMapping(5353, 53, None, "UDP"), PortMapping(3001, 80)).enter()
    ports = (store.get(SERVICES, "pay") or {})["spec"]["ports"]
    assert [(one["name"], one["protocol"], one.get("appProtocol")) for one in ports] == [
        ("udp-53", "UDP", None),
        ("http-80", "TCP", "http"),
    ]


@pytest.mark.parametrize("option", HOSTS)
async def test_a_host_has_nothing_to_lead_to_where_only_udp_is_exposed(store_api: Api, option: str) -> None:
    hosts: dict[str, Any] = {option: "game.example"}
    options = InterceptOptions("preview", "game", parse_expose(["7777/udp"]), **hosts)
    with pytest.raises(TargetUnsuitable, match="only UDP ports are exposed; nothing was changed"):
        await preview.prepare(store_api, options)


@pytest.mark.parametrize(("text", "error"), [("3001:http", PortUnknown), ("1:80,2:80", RouteTaken)])
def test_ports_that_cannot_be(text: str, error: type[KtpyError]) -> None:
    with pytest.raises(error):
        preview.preview_ports(parse_expose([text]))
