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
from tests.unit.cluster.gateway_cases import furnish
from tests.unit.cluster.gateway_cases import preview as preview_of
from tests.unit.kube.api_stub import refused
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, SERVICES, ObjectStore

INGRESSES = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses"
CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"


def of(api: Api, session: str = "a", **options: Any) -> ClusterChange:
    return preview_of(api, session, PortMapping(3001, 8080), **options)


def put_class(store: ObjectStore, name: str, **annotations: str) -> None:
    store.put(CLASSES, {"metadata": {"name": name, "annotations": annotations}})


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


@pytest.mark.parametrize("done", range(7))
async def test_leaving_undoes_an_entry_that_stopped_anywhere(store: ObjectStore, store_api: Api, done: int) -> None:
    put_class(store, "nginx")
    own = of(store_api, ingress_host="pay.example.org")
    for step in own.entry[:done]:
        await step.run()
    await own.leave()
    for collection in (SERVICES, DEPLOYMENTS, LEASES, INGRESSES):
        assert store.names(collection) == []


class TestIngress:
    async def test_the_only_class_is_named(self, store: ObjectStore, store_api: Api) -> None:
        put_class(store, "nginx")
        await of(store_api, ingress_host="pay.example.org").enter()
        spec = (store.get(INGRESSES, "pay") or {})["spec"]
        assert spec["ingressClassName"] == "nginx"
        assert spec["rules"][0]["host"] == "pay.example.org"

    async def test_the_default_class_need_not_be(self, store: ObjectStore, store_api: Api) -> None:
        put_class(store, "nginx")
        put_class(store, "other", **{"ingressclass.kubernetes.io/is-default-class": "true"})
        await of(store_api, ingress_host="pay.example.org").enter()
        assert "ingressClassName" not in (store.get(INGRESSES, "pay") or {})["spec"]

    @pytest.mark.parametrize(
        ("classes", "words"),
        [([], "has no ingress class"), (["nginx", "other"], "several ingress classes and no default: nginx, other")],
    )
    async def test_no_class_to_choose(self, store: ObjectStore, store_api: Api, classes: list[str], words: str) -> None:
        for name in classes:
            put_class(store, name)
        own = of(store_api, ingress_host="pay.example.org")
        with pytest.raises(TargetUnsuitable, match=words):
            await own.enter()
        assert store.writes == []

    async def test_who_may_not_see_classes_leaves_it_to_the_cluster(self, store: ObjectStore, store_api: Api) -> None:
        store.forbidden.add("list ingressclasses")
        assert await preview.ingress_class(store_api) is None

    async def test_the_name_of_another_ingress(self, store: ObjectStore, store_api: Api) -> None:
        put_class(store, "nginx")
        store.put(INGRESSES, {"metadata": {"name": "pay"}})
        own = of(store_api, ingress_host="pay.example.org")
        with pytest.raises(NameTaken, match="An ingress pay exists"):
            await own.enter()
        await own.leave()
        assert store.names(INGRESSES) == ["pay"]


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


async def test_an_ingress_has_nothing_to_lead_to_where_only_udp_is_exposed(store_api: Api) -> None:
    options = InterceptOptions("preview", "game", parse_expose(["7777/udp"]), ingress_host="game.example")
    with pytest.raises(TargetUnsuitable, match="only UDP ports are exposed; nothing was changed"):
        await preview.prepare(store_api, options)


@pytest.mark.parametrize(("text", "error"), [("3001:http", PortUnknown), ("1:80,2:80", RouteTaken)])
def test_ports_that_cannot_be(text: str, error: type[KtpyError]) -> None:
    with pytest.raises(error):
        preview.preview_ports(parse_expose([text]))
