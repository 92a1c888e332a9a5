"""Requests from outside the cluster reach a preview by a real Ingress controller, and by a Gateway of its own.

The lab has Contour and its Envoy for that with `scripts/lab up --ingress contour`; else these tests are skipped.
"""

import http.client
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

from ktpy.cluster import rbac
from tests.e2e.kit import workloads
from tests.e2e.kit.failed_command import Attempt, attempt
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.rights import asked_for, granted, role
from tests.e2e.kit.target_service import until_reached
from tests.lab import Lab
from tests.lab.components import GATEWAY
from tests.lab.layout import NODE_IPV4
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import Intercept, intercepting
from tests.lab.sessions.local_server import serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE, OPEN = "previews-outside", {"previews": "welcome"}
LOCAL, HOST, SILENT_HOST = 3001, "pay.example.org", "pay.example.net"
EXPOSED = ("--expose", f"{LOCAL}:80")
EDGE = "/".join(GATEWAY)
WAYS = {"Ingress": ("--ingress", HOST), "HTTPRoute": ("--gateway-route", HOST)}
TOLD_S = 20.0
"""For a controller to see what has changed and to tell its proxy."""
UNSUITABLE = 52
USER = "carol@example.org"
Answer = tuple[int, str]


def gateway(name: str, gateway_class: str, host: str) -> workloads.Manifest:
    """One that takes routes for a host from namespaces that are labelled so."""
    allowed = {"namespaces": {"from": "Selector", "selector": {"matchLabels": OPEN}}}
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "hostname": host, "allowedRoutes": allowed}
    spec = {"gatewayClassName": gateway_class, "listeners": [listener]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": spec,
    }


def of_cluster(kind: str, group: str, name: str, **spec: str) -> workloads.Manifest:
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def outside(lab: Lab) -> Iterator[Callable[[], Answer]]:
    """Ask for HOST from outside: the laptop, which is not connected, asks the node."""
    if lab.status().get("ingress") != "contour":
        pytest.skip('nobody serves Ingresses and Gateways here, as with KTPY_LAB_UP="--ingress contour"')
    classes = (
        of_cluster("IngressClass", "networking.k8s.io", "contour", controller="projectcontour.io/ingress-controller"),
        of_cluster(
            "GatewayClass",
            "gateway.networking.k8s.io",
            "contour",
            controllerName="projectcontour.io/gateway-controller",
        ),
        of_cluster("GatewayClass", "gateway.networking.k8s.io", "nobody", controllerName="example.org/nobody"),
    )
    gateways = (gateway(GATEWAY[1], "contour", "*.example.org"), gateway("silent", "nobody", "*.example.net"))
    with ExitStack() as ends:
        ends.enter_context(workloads.applied(lab, "default", *classes))
        ends.enter_context(workloads.namespace(lab, GATEWAY[0], workloads.client(), *gateways))
        ends.enter_context(workloads.namespace(lab, NAMESPACE, workloads.client(), labels=OPEN))
        yield lambda: ask(lab.layout.laptop_netns_path, NODE_IPV4, {"Host": HOST}, port=8080)


def previewing(lab: Lab, *options: str) -> AbstractContextManager[Intercept]:
    return intercepting(lab, "preview", "pay", *EXPOSED, *options, namespace=NAMESPACE)


def refused(lab: Lab, *options: str, **more: Any) -> Attempt:
    namespace = more.pop("namespace", NAMESPACE)
    found = attempt(lab, command=["ktpy", "preview", "pay", "-n", namespace, *EXPOSED, *options], **more)
    assert found.exit_code == UNSUITABLE, found.output
    assert ktpys_objects(lab, namespace) == []
    return found


def ktpys_objects(lab: Lab, namespace: str = NAMESPACE) -> list[str]:
    kinds = "services,deployments,ingresses,httproutes,leases"
    managed = ("-l", "app.kubernetes.io/managed-by=ktpy")
    return lab.kubectl("-n", namespace, "get", kinds, *managed, "-o", "name").split()


def until_gone(outside: Callable[[], Answer]) -> None:
    """Wait until the proxy knows nothing of the host: where it has no route at all, it does not listen."""

    def is_gone() -> bool:
        try:
            return outside()[0] == http.client.NOT_FOUND
        except ConnectionRefusedError:
            return True

    wait_until(is_gone, TOLD_S, "the proxy to forget the host")


@pytest.mark.parametrize("way", WAYS)
def test_it_comes_and_goes(lab: Lab, laptop: Laptop, outside: Callable[[], Answer], way: str) -> None:
    with serving(lab, LOCAL), previewing(lab, *WAYS[way]) as preview:
        until_reached(lambda: outside()[1].strip(), "local")
        assert json.loads(laptop.output("ktpy", "status", "--output", "json"))["sessions"][0]["hosts"] == [HOST]
        assert f"preview of port 80 for {HOST} since" in laptop.output("ktpy", "list", "-n", NAMESPACE)
        assert "Gateway" not in preview.notices()
        preview.leave()
        until_gone(outside)
    assert ktpys_objects(lab) == []


@pytest.mark.parametrize("way", WAYS)
def test_its_laptop_is_killed(lab: Lab, laptop: Laptop, outside: Callable[[], Answer], way: str) -> None:
    with serving(lab, LOCAL), previewing(lab, *WAYS[way]) as preview:
        until_reached(lambda: outside()[1].strip(), "local")
        preview.kill()
        wait_until(lambda: outside()[0] == 503, TOLD_S, "it to be known as away")
        assert "dev@laptop's laptop" in outside()[1]
        left = laptop.output("ktpy", "clean", "-n", NAMESPACE)
        assert f"preview of pay in namespace {NAMESPACE} is undone" in left
        until_gone(outside)
    assert ktpys_objects(lab) == []


def test_both_at_once_and_a_gateway_that_is_named(lab: Lab, outside: Callable[[], Answer]) -> None:
    options = (*WAYS["HTTPRoute"], "--gateway", EDGE, "--ingress", "other.example.org")
    with serving(lab, LOCAL), previewing(lab, *options) as preview:
        until_reached(lambda: outside()[1].strip(), "local")
        assert {"ingress.networking.k8s.io/pay", "httproute.gateway.networking.k8s.io/pay"} < set(ktpys_objects(lab))
        preview.leave()
    assert ktpys_objects(lab) == []


def test_a_gateway_whose_controller_says_nothing(lab: Lab, outside: Callable[[], Answer]) -> None:
    with previewing(lab, "--gateway-route", SILENT_HOST) as preview:
        preview.wait_for("has not said within")
        told = f"Gateway {GATEWAY[0]}/silent has not said within 10 s that it takes the route for {SILENT_HOST}"
        assert told in preview.notices()


def test_what_no_listener_takes(lab: Lab, outside: Callable[[], Answer]) -> None:
    found = refused(lab, "--gateway-route", "pay.example.com")
    assert found.message == (
        f"No Gateway takes a route for pay.example.com from namespace {NAMESPACE} ({EDGE}: it listens for "
        f"*.example.org; {GATEWAY[0]}/silent: it listens for *.example.net)."
    )
    elsewhere = refused(lab, *WAYS["HTTPRoute"], namespace="shop")
    assert f"({EDGE}: it takes no route from namespace shop" in elsewhere.message
    assert "has no Gateway other," in refused(lab, *WAYS["HTTPRoute"], "--gateway", "other").message


def test_the_documented_rights_are_enough(lab: Lab, outside: Callable[[], Answer]) -> None:
    options = (*EXPOSED, *WAYS["Ingress"], *WAYS["HTTPRoute"], "--kubeconfig", str(lab.kubeconfig(USER)))
    command = ["ktpy", "preview", "pay", "-n", NAMESPACE, *options, "--", "true"]
    with granted(lab, rbac.manifest(NAMESPACE, USER, intercept=True)):
        done = lab.exec(command, user="dev")
    assert done.returncode == 0, done.stderr
    assert ktpys_objects(lab) == []
    refused = lab.exec(command, user="dev")
    assert refused.returncode == 14, refused.stderr
    asked = {(rule.group, rule.resource) for rule in asked_for(refused.stderr)}
    assert {("networking.k8s.io", "ingresses"), ("gateway.networking.k8s.io", "httproutes")} < asked


def test_who_may_not_see_gateways_names_one_and_hears_its_word(lab: Lab, outside: Callable[[], Answer]) -> None:
    kubeconfig = lab.kubeconfig(USER)
    rights = (*rbac.INTERCEPT, rbac.HTTP_ROUTES)
    with granted(lab, role(rights, USER)):
        blind = refused(lab, *WAYS["HTTPRoute"], namespace="shop", kubeconfig=kubeconfig)
        assert blind.message == "You may not see which Gateways the cluster has."
        told = refused(lab, *WAYS["HTTPRoute"], "--gateway", EDGE, namespace="shop", kubeconfig=kubeconfig)
    assert told.message.startswith(f"Gateway {EDGE} does not take the route for {HOST} (NotAllowedByListeners): ")
