import json
from typing import Any

import pytest

from ktpy.wire.gateway import GatewaySpec, Port, SpecError
from ktpy.wire.version import VERSION

HTTP = {"port": 80, "name": "http", "bind": 8080, "protocol": "TCP", "http": True}
DNS = {"port": 53, "name": "", "bind": 53, "protocol": "UDP", "http": False}


def document(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "target": "web", "origin": {"host": "10.96.1.2"}, "ports": [HTTP, DNS], **changes}


def test_a_spec() -> None:
    http, dns = Port(80, "http", 8080, "TCP", http=True), Port(53, "", 53, "UDP", http=False)
    spec = GatewaySpec.parse(json.dumps(document()))
    assert spec == GatewaySpec("web", "10.96.1.2", (http, dns))
    assert (spec.tcp_ports, spec.udp_ports) == ((http,), (dns,))


@pytest.mark.parametrize("version", [VERSION - 1, VERSION, VERSION + 1])
def test_a_gateway_of_a_ktpy_one_version_older_or_newer_is_understood(version: int) -> None:
    spec = GatewaySpec.parse(json.dumps(document(version=version)))
    assert spec == GatewaySpec.parse(json.dumps(document()))._replace(version=version)


def test_keys_of_a_later_version_are_ignored() -> None:
    later = document(later=1, origin={"host": "10.96.1.2", "later": 1}, ports=[{**HTTP, "later": 1}, DNS])
    assert GatewaySpec.parse(json.dumps(later)) == GatewaySpec.parse(json.dumps(document()))


def test_what_a_laptop_renders_is_what_the_pods_read() -> None:
    spec = GatewaySpec("web", "10.96.1.2", (Port(80, "http", 8080, "TCP", http=True),))
    assert json.loads(spec.document()) == document(ports=[HTTP])
    assert GatewaySpec.parse(spec.document()) == spec


@pytest.mark.parametrize("value", ["", "{", "[]", "3", "{}"])
def test_what_is_no_document_is_refused(value: str) -> None:
    with pytest.raises(SpecError):
        GatewaySpec.parse(value)


def test_a_preview_has_no_origin() -> None:
    assert GatewaySpec.parse(json.dumps(document(origin=None))).origin is None


def test_an_ipv6_origin() -> None:
    assert GatewaySpec.parse(json.dumps(document(origin={"host": "FD00::0001"}))).origin == "fd00::1"


def test_one_number_may_serve_both_protocols() -> None:
    tcp = {**DNS, "protocol": "TCP"}
    assert len(GatewaySpec.parse(json.dumps(document(ports=[DNS, tcp]))).ports) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"version": VERSION - 2},
        {"version": VERSION + 2},
        {"version": "1"},
        {"version": True},
        {"target": 'web"\n  bind :1'},
        {"target": ""},
        {"target": 7},
        {"origin": {"host": "web.shop.svc"}},
        {"origin": {"host": "10.96.1.2\n"}},
        {"origin": {}},
        {"origin": "10.96.1.2"},
        {"ports": [{**HTTP, "port": "80"}]},
        {"ports": [{**HTTP, "port": 0}]},
        {"ports": [{**HTTP, "port": True}]},
        {"ports": [{**HTTP, "bind": 65536}]},
        {"ports": [{**HTTP, "protocol": "SCTP"}]},
        {"ports": [{**HTTP, "http": 1}]},
        {"ports": [{**HTTP, "name": "a b"}]},
        {"ports": [HTTP, HTTP]},
        {"ports": [HTTP, {**HTTP, "port": 81}]},
        {"ports": [{}]},
        {"ports": None},
    ],
)
def test_anything_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        GatewaySpec.parse(json.dumps(document(**changes)))
