"""A preview as others in the cluster meet it: an Ingress if that is wanted, and plain words when its laptop is away."""

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import workloads
from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.target_service import PROBE_TIMEOUT_S, until_reached
from tests.kit.tcp_server import tcp_server
from tests.lab import Lab
from tests.lab.namespaces import stream_socket
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import Intercept, intercepting
from tests.lab.sessions.local_server import listener, serving
from tests.lab.sessions.request_log import SOON_S

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE = "previews"
LOCAL = 3001
HOST = "pay.example.org"
EXPOSED = ("--expose", f"{LOCAL}:8080")
AT_ONCE_S = 1.0
"""Nobody waits for a laptop that is known to be away."""
NOTICED_S = 8.0
"""A laptop that has gone without a word is away after 4 s of silence."""
INGRESSES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses"


@pytest.fixture(scope="module")
def pod(lab: Lab) -> Iterator[Path]:
    """The network namespace of a pod of somebody else's."""
    with workloads.namespace(lab, NAMESPACE, workloads.client()):
        yield workloads.netns(lab, NAMESPACE)


def previewing(lab: Lab, name: str, *options: str) -> AbstractContextManager[Intercept]:
    return intercepting(lab, "preview", name, *options, namespace=NAMESPACE)


def ktpys_objects(lab: Lab) -> list[str]:
    kinds = "services,deployments,ingresses,leases"
    managed = ("-l", "app.kubernetes.io/managed-by=ktpy")
    return lab.kubectl("-n", NAMESPACE, "get", kinds, *managed, "-o", "name").split()


def service(lab: Lab, name: str) -> dict[str, Any]:
    return dict(lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/{name}"))


# --- with an Ingress


@contextmanager
def ingress_class(lab: Lab, name: str, *, is_default: bool = False) -> Iterator[None]:
    """A class whose controller is nobody: what a controller does is not ktpy's."""
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"} if is_default else {}
    manifest = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"controller": "example.org/nobody"},
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    try:
        yield
    finally:
        lab.kubectl("delete", "ingressclass", name)


def ingress(lab: Lab) -> dict[str, Any]:
    """The one of the namespace."""
    [found] = lab.api.get(INGRESSES)["items"]
    return dict(found)


def test_an_ingress_leads_the_host_to_the_preview(lab: Lab, pod: Path) -> None:
    with ingress_class(lab, "edge"), previewing(lab, "pay", *EXPOSED, "--ingress", HOST) as preview:
        made = ingress(lab)
        assert made["metadata"]["name"] == "pay"
        assert made["metadata"]["labels"].items() >= service(lab, "pay")["metadata"]["labels"].items()
        assert made["spec"] == {
            "ingressClassName": "edge",
            "rules": [
                {
                    "host": HOST,
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "pay", "port": {"number": 8080}}},
                            }
                        ]
                    },
                }
            ],
        }
        preview.leave()
        assert lab.api.get(INGRESSES)["items"] == []
    assert ktpys_objects(lab) == []


def test_what_is_left_of_one_that_was_killed(lab: Lab, laptop: Laptop, pod: Path) -> None:
    options = (*EXPOSED, "--ingress", HOST, "--ingress-class", "inner")
    with (
        ingress_class(lab, "edge"),
        ingress_class(lab, "inner"),
        serving(lab, LOCAL),
        previewing(lab, "pay", *options) as preview,
    ):
        host = str(service(lab, "pay")["spec"]["clusterIP"])
        until_reached(lambda: get(pod, host), "local")
        preview.kill()
        began_s = time.monotonic()
        wait_until(lambda: is_away(pod, host), SOON_S, "it to be known as away")
        assert time.monotonic() - began_s < NOTICED_S
        assert ingress(lab)["spec"]["ingressClassName"] == "inner"
        said = laptop.output("ktpy", "clean", "-n", NAMESPACE)
        assert said.count("pay") == 1
        assert f"preview of pay in namespace {NAMESPACE} is undone" in said
        assert (
            laptop.output("ktpy", "clean", "-n", NAMESPACE) == "Nothing to clean.\n"
        )  # though its pod is still ending
    assert ktpys_objects(lab) == []


def test_of_several_classes_one_has_to_be_the_default(lab: Lab, pod: Path) -> None:
    with ingress_class(lab, "edge"), ingress_class(lab, "inner"):
        refused = attempt(lab, command=["ktpy", "preview", "pay", "-n", NAMESPACE, *EXPOSED, "--ingress", HOST])
        assert refused.exit_code == 52
        assert refused.message == "The cluster has several ingress classes and no default: edge, inner."
        assert "--ingress-class" in refused.hint
        assert ktpys_objects(lab) == []
        with ingress_class(lab, "usual", is_default=True), previewing(lab, "pay", *EXPOSED, "--ingress", HOST):
            assert ingress(lab)["spec"]["ingressClassName"] == "usual"  # the API server's choice


def test_no_class_at_all_is_refused(lab: Lab, pod: Path) -> None:
    refused = attempt(lab, command=["ktpy", "preview", "pay", "-n", NAMESPACE, *EXPOSED, "--ingress", HOST])
    assert refused.exit_code == 52
    assert refused.message == "The cluster has no ingress class, so nothing would serve an ingress."
    assert ktpys_objects(lab) == []


def test_no_gateway_api_at_all_is_refused(lab: Lab, pod: Path) -> None:
    if lab.status().get("ingress") != "none":
        pytest.skip("this cluster has it: see test_preview_from_outside.py")
    refused = attempt(lab, command=["ktpy", "preview", "pay", "-n", NAMESPACE, *EXPOSED, "--gateway-route", HOST])
    assert refused.exit_code == 52
    assert "The cluster has no Gateway API (gateway.networking.k8s.io/v1)" in refused.message
    assert ktpys_objects(lab) == []


# --- its laptop is away


@pytest.fixture(scope="module")
def preview(lab: Lab, pod: Path) -> Iterator[Intercept]:
    with previewing(lab, "cart", *EXPOSED) as preview:
        yield preview
        preview.leave()


@pytest.fixture
def host(lab: Lab, preview: Intercept, pod: Path) -> str:
    """Its address. The pod's node knows it, and the laptop has served it."""
    with serving(lab, LOCAL):
        until_reached(lambda: get(pod, service(lab, "cart")["spec"]["clusterIP"]), "local")
    return str(service(lab, "cart")["spec"]["clusterIP"])


def get(pod: Path, host: str) -> str:
    """A packet to an address that is too new for the node is lost, and so are its repetitions: hence soon again."""
    return ask(pod, host, port=8080, timeout_s=PROBE_TIMEOUT_S)[1].strip()


def quickest_s(request: Callable[[], Any], answer: Any) -> float:
    """How long the quickest of three took, which are all answered so: others work on this machine, too."""

    def took_s() -> float:
        began_s = time.monotonic()
        assert request() == answer
        return time.monotonic() - began_s

    return min(took_s() for _ in range(3))


def is_away(pod: Path, host: str) -> bool:
    status, body = ask(pod, host, port=8080)
    return status == 503 and "dev@laptop's laptop" in body and "away" in body


def test_it_is_known_in_the_cluster_only(lab: Lab, preview: Intercept) -> None:
    spec = service(lab, "cart")["spec"]
    assert (spec["type"], spec["ports"][0]["port"]) == ("ClusterIP", 8080)
    assert "nodePort" not in spec["ports"][0]
    assert not {"externalIPs", "loadBalancerIP"} & spec.keys()
    assert lab.api.get(INGRESSES)["items"] == []


def test_a_closed_port_is_told_at_once_and_whose_it_is(pod: Path, host: str) -> None:
    ask(pod, host, port=8080)  # one that comes just when it is closed waits whether the program restarts
    told = "port 8080 of cart is served by dev@laptop's laptop, which is away or does not listen now.\n"
    assert quickest_s(lambda: ask(pod, host, port=8080), (503, told)) < AT_ONCE_S


@pytest.mark.parametrize(("method", "most_s"), [("POST", AT_ONCE_S), ("GET", NOTICED_S)])
def test_a_program_that_dies_over_a_request(lab: Lab, pod: Path, host: str, method: str, most_s: float) -> None:
    """A POST may not be sent twice; a GET is, in case the program comes back."""

    def die(connection: socket.socket) -> None:
        connection.recv(1000)

    def request() -> int:
        connection = http.client.HTTPConnection(host)
        connection.sock = stream_socket(pod, (host, 8080), SOON_S)
        with closing(connection):
            connection.request(method, "/")
            return connection.getresponse().status

    with tcp_server(die, listener(lab, LOCAL)):
        until_reached(lambda: str(request()), "502")
        assert quickest_s(request, 502) < most_s
    wait_until(lambda: is_away(pod, host), SOON_S, "it to be known as away")


def test_a_laptop_that_is_frozen(lab: Lab, preview: Intercept, pod: Path, host: str) -> None:
    with serving(lab, LOCAL):
        until_reached(lambda: get(pod, host), "local")
        os.killpg(preview.process.pid, signal.SIGSTOP)
        try:
            began_s = time.monotonic()
            assert is_away(pod, host)
            assert time.monotonic() - began_s < NOTICED_S
        finally:
            os.killpg(preview.process.pid, signal.SIGCONT)
        until_reached(lambda: get(pod, host), "local")


def test_plain_tcp_ends_at_once(lab: Lab, pod: Path) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"hello")

    with previewing(lab, "db", "--expose", f"{LOCAL}:5432", "--protocol", "tcp"):
        address = (str(service(lab, "db")["spec"]["clusterIP"]), 5432)

        def heard() -> str:
            with stream_socket(pod, address, PROBE_TIMEOUT_S) as connection:
                return connection.recv(100).decode()

        with tcp_server(speak, listener(lab, LOCAL)):
            until_reached(heard, "hello")
        until_reached(heard, "")
        assert quickest_s(heard, "") < AT_ONCE_S
