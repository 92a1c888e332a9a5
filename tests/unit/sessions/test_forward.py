"""Which ports `ktpy forward` takes of what there is, and what programs are told of them."""

from typing import Any

import pytest

from ktpy.cluster.service.reference import Reference
from ktpy.errors import KtpyError, PortUnknown, TargetAbsent, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.sessions import forward
from ktpy.sessions.options import ForwardOptions, PortChoice, parse_forwarded
from tests.unit.kube.object_store import PODS, SERVICES, ObjectStore

HTTP = {"name": "http", "port": 80, "targetPort": 8080}
DNS = [{"name": f"dns-{name}", "port": 53, "protocol": name.upper()} for name in ("udp", "tcp")]
POD: dict[str, Any] = {"containers": [{"name": "main", "ports": [{"name": "db", "containerPort": 5432}]}]}


def service(name: str, *ports: Any, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": spec.pop("labels", {})}, "spec": {"ports": list(ports)} | spec}


@pytest.fixture
def cluster(store: ObjectStore) -> ObjectStore:
    store.put(SERVICES, service("web", HTTP))
    store.put(SERVICES, service("set", HTTP, clusterIP="None"))
    store.put(SERVICES, service("names", *DNS, {"port": 9, "protocol": "SCTP"}))
    store.put(SERVICES, service("ours", HTTP, labels={"app.kubernetes.io/managed-by": "ktpy"}))
    store.put(SERVICES, {"metadata": {"name": "alias"}, "spec": {"externalName": "example.org"}})
    store.put(PODS, {"metadata": {"name": "db-0"}, "spec": POD, "status": {}})
    return store


async def found(api: Api, target: str | None, *ports: str) -> list[tuple[str, int, str, str]]:
    """Target, port, protocol and name of each forward."""
    forwards = [one async for one in forward._bound(api, ForwardOptions(target, tuple(map(parse_forwarded, ports))))]
    for one in forwards:
        one.own.close()
    return [(one.target, one.port, one.protocol, one.name) for one in forwards]


async def test_all_ports_of_a_service_that_can_be_carried(cluster: ObjectStore, store_api: Api) -> None:
    assert await found(store_api, "names") == [("names", 53, "UDP", "dns-udp"), ("names", 53, "TCP", "dns-tcp")]


@pytest.mark.parametrize("port", ["53/udp", "dns-udp", "0:53/UDP"[1:]])
async def test_the_port_that_is_named(cluster: ObjectStore, store_api: Api, port: str) -> None:
    assert await found(store_api, "svc/names", port) == [("names", 53, "UDP", "dns-udp")]


async def test_a_headless_service_leads_to_the_pods_own_port(cluster: ObjectStore, store_api: Api) -> None:
    assert await found(store_api, "set", "80") == [("set", 8080, "TCP", "http")]


async def test_all_services_but_ktpys_and_those_without_ports(cluster: ObjectStore, store_api: Api) -> None:
    assert {target for target, *_ in await found(store_api, None)} == {"web", "set", "names"}


async def test_a_pod_has_the_ports_that_it_names_or_any(cluster: ObjectStore, store_api: Api) -> None:
    assert await found(store_api, "pod/db-0") == [("pod/db-0", 5432, "TCP", "db")]
    assert await found(store_api, "pod/db-0", "9187") == [("pod/db-0", 9187, "TCP", "")]


@pytest.mark.parametrize(
    ("target", "port", "error", "words"),
    [
        ("web", "81", PortUnknown, "It has: 80/TCP (http)."),
        ("names", "9", PortUnknown, "It has: 53/UDP (dns-udp), 53/TCP (dns-tcp)."),
        ("absent", "80", TargetAbsent, "Its services are"),
        ("pod/db-0", "db", TargetUnsuitable, "no number"),
    ],
)
async def test_what_there_is_not(
    cluster: ObjectStore, store_api: Api, target: str, port: str, error: type[KtpyError], words: str
) -> None:
    with pytest.raises(error) as refused:
        await found(store_api, target, port)
    assert words in f"{refused.value.message} {refused.value.hint}"


async def test_a_namespace_without_services(store: ObjectStore, store_api: Api) -> None:
    with pytest.raises(TargetAbsent, match="has no service with ports"):
        await found(store_api, None)


async def test_programs_find_it_as_in_a_pod(cluster: ObjectStore, store_api: Api) -> None:
    forwards = [one async for one in forward._bound(store_api, ForwardOptions("names"))]
    udp, tcp = forward._told(forwards)
    number = str(udp.local_port)
    assert udp.variables == {
        "NAMES_SERVICE_HOST": "127.0.0.1",
        "NAMES_SERVICE_PORT": number,
        "NAMES_SERVICE_PORT_DNS_UDP": number,
    }
    assert tcp.variables == {"NAMES_SERVICE_PORT_DNS_TCP": str(tcp.local_port)}
    for one in forwards:
        one.own.close()


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("80", PortChoice(None, "80")),
        ("8080:80", PortChoice(8080, "80")),
        (":http", PortChoice(0, "http")),
        ("5353:53/udp", PortChoice(5353, "53", "UDP")),
    ],
)
def test_a_port(text: str, choice: PortChoice) -> None:
    assert parse_forwarded(text) == choice


@pytest.mark.parametrize("text", ["", ":", "0", "70000", "0:80", "80:90:100", "80/sctp", "-1", "Web"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_forwarded(text)


def test_a_reference_is_read_as_everywhere() -> None:
    assert forward.is_forwarded(service("web", HTTP), Reference.parse("svc/web"))
