import json
from typing import Any

import pytest
from ktpy_agent.gateway_spec import GatewaySpec, Port, SpecError, find_annotation, parse_spec

HTTP = {"port": 80, "name": "http", "bind": 8080, "protocol": "TCP", "http": True}
DNS = {"port": 53, "name": "", "bind": 53, "protocol": "UDP", "http": False}


def annotations(document: object) -> str:
    """As the kubelet writes them: the value is quoted by Go's %q, which for such text is JSON's quoting."""
    return f'a="b"\nktpy.dev/gateway={json.dumps(json.dumps(document))}\nz="\\x00"\n'


def document(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "target": "web", "origin": {"host": "10.96.1.2"}, "ports": [HTTP, DNS], **changes}


def test_a_spec() -> None:
    http, dns = Port(80, "http", 8080, "TCP", http=True), Port(53, "", 53, "UDP", http=False)
    spec = parse_spec(annotations(document()))
    assert spec == GatewaySpec("web", "10.96.1.2", (http, dns))
    assert (spec.tcp_ports, spec.udp_ports) == ((http,), (dns,))


def test_a_preview_has_no_origin() -> None:
    assert parse_spec(annotations(document(origin=None))).origin is None


def test_an_ipv6_origin() -> None:
    assert parse_spec(annotations(document(origin={"host": "FD00::0001"}))).origin == "fd00::1"


def test_one_number_may_serve_both_protocols() -> None:
    tcp = {**DNS, "protocol": "TCP"}
    assert len(parse_spec(annotations(document(ports=[DNS, tcp]))).ports) == 2


def test_quotes_and_backslashes_survive() -> None:
    assert find_annotation('a="say \\"x\\" \\\\ \\n\\u00e9"', "a") == 'say "x" \\ \n\u00e9'


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
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
        parse_spec(annotations(document(**changes)))


@pytest.mark.parametrize("text", ["", 'ktpy.dev/gateway="{"', 'ktpy.dev/gateway="\\x00"', 'ktpy.dev/gateway="[]"'])
def test_text_that_holds_no_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_spec(text)
