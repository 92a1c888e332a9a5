import pytest

from ktpy.cluster.service.gateway_api import reference, refusal
from ktpy.kube.objects import Json
from tests.unit.cluster.changes.host_route_cases import admitting, gateway

HOST = "pay.example.org"
DEV = {"matchLabels": {"tier": "dev"}}


def said(*listeners: Json, host: str = HOST, namespace: str = "shop", labels: dict[str, str] | None = None) -> str:
    return refusal(gateway("edge", *listeners, namespace="infra"), host, namespace, labels) or ""


def test_its_name() -> None:
    assert reference(gateway("edge", namespace="infra")) == "infra/edge"


@pytest.mark.parametrize(
    ("listener", "host", "is_taken"),
    [
        ("", HOST, True),
        (HOST, HOST, True),
        (HOST, HOST.upper(), True),
        ("web.example.org", HOST, False),
        ("*.example.org", HOST, True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "payexample.org", False),
        ("*.example.org", "*.example.org", True),
        ("*.example.org", "*.dev.example.org", True),
        ("pay.dev.example.org", "*.dev.example.org", True),
        ("*.other.org", "*.example.org", False),
    ],
)
def test_hosts(listener: str, host: str, is_taken: bool) -> None:
    told = said({"hostname": listener} | admitting("All"), host=host)
    assert told == ("" if is_taken else f"it listens for {listener}")


def test_all_hosts_are_told() -> None:
    assert said({"hostname": "b.org"}, {"hostname": "a.org"}) == "it listens for a.org, b.org"


@pytest.mark.parametrize(
    ("listener", "namespace", "labels", "is_taken"),
    [
        ({}, "infra", {}, True),
        ({}, "shop", {}, False),
        (admitting("Same"), "shop", {}, False),
        (admitting("None"), "infra", {}, False),
        (admitting("Selector", selector=DEV), "shop", {"tier": "dev"}, True),
        (admitting("Selector", selector=DEV), "shop", {}, False),
        (admitting("Selector", selector=DEV), "shop", None, True),
    ],
)
def test_namespaces(listener: Json, namespace: str, labels: dict[str, str] | None, is_taken: bool) -> None:
    told = said(listener, namespace=namespace, labels=labels)
    assert told == ("" if is_taken else f"it takes no route from namespace {namespace}")


def kinds(*names: str) -> Json:
    return {"allowedRoutes": {"namespaces": {"from": "All"}, "kinds": [{"kind": name} for name in names]}}


@pytest.mark.parametrize(
    ("listener", "is_taken"),
    [
        (kinds(), True),
        (kinds("HTTPRoute"), True),
        (kinds("GRPCRoute"), False),
        (kinds() | {"protocol": "HTTPS"}, True),
        (kinds() | {"protocol": "TLS"}, False),
        (kinds() | {"protocol": "TCP"}, False),
        (kinds("HTTPRoute") | {"protocol": "TCP"}, False),
        (kinds("HTTPRoute") | {"protocol": "example.com/h3"}, True),
        (kinds("TLSRoute") | {"protocol": "example.com/h3"}, False),
        (kinds() | {"protocol": "example.com/h3"}, False),
    ],
)
def test_listeners_for_http(listener: Json, is_taken: bool) -> None:
    assert said(listener) == ("" if is_taken else "it has no listener for HTTPRoutes")


def test_one_listener_has_to_fit_in_every_way() -> None:
    told = said({"hostname": HOST}, {"hostname": "web.example.org"} | admitting("All"))
    assert told == "it takes no route from namespace shop"
    assert said({"hostname": HOST}, {"hostname": "*.example.org"} | admitting("All")) == ""
