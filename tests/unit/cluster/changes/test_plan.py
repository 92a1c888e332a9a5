import pytest

from ktpy.cluster.service.ports import PortMapping
from ktpy.wire.route import Header, Match
from tests.unit.cluster.gateway_cases import plan

VERSION = Match((Header("VERSION", "foobar"),))


@pytest.mark.parametrize(
    ("kind", "ports", "match", "description"),
    [
        ("exchange", (80,), None, "exchange of port 80"),
        ("preview", (80, 81), None, "preview of ports 80, 81"),
        ("mesh", (80,), VERSION, "mesh of port 80, VERSION: foobar"),
    ],
)
def test_what_others_read_about_it(kind: str, ports: tuple[int, ...], match: Match | None, description: str) -> None:
    mappings = [PortMapping(3001 + at, port) for at, port in enumerate(ports)]
    planned = plan("web", *mappings, kind=kind, match=match)
    assert planned.description == description
    document = match.document() if match is not None else None
    assert planned.details == {"kind": kind, "ports": list(ports), "match": document}


def test_the_hosts_of_a_preview() -> None:
    hosts = {"ingress_host": "a.org", "gateway_route_host": "b.org"}
    planned = plan("pay", PortMapping(3001, 80), kind="preview", **hosts)
    assert planned.description == "preview of port 80 for a.org, b.org"
    one = plan("pay", PortMapping(3001, 80), kind="preview", **dict.fromkeys(hosts, "a.org"))
    assert one.description == "preview of port 80 for a.org"


def test_what_others_read_about_a_tap() -> None:
    for percent, share in ((100, ""), (9, ", 9 %")):
        planned = plan("web", PortMapping(1, 80), kind="tap", match=VERSION, copied_percent=percent)
        assert planned.description == f"tap of port 80, VERSION: foobar{share}"
