from typing import Any

import pytest

from ktpy.cluster.service import ports
from ktpy.cluster.service.ports import AppProtocol, ExposeOption, PortMapping
from ktpy.errors import PortUnknown, RouteTaken, TargetUnsuitable
from tests.unit.cluster.gateway_cases import service


def port(number: int, name: str = "", target: int | str | None = None, protocol: str = "TCP", **more: Any) -> Any:
    return {"port": number, "name": name, "protocol": protocol, "targetPort": target or number, **more}


def with_ports(*found: Any) -> Any:
    return service(ports=list(found))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("172.17.0.2:8080:80", ExposeOption(8080, "80", "172.17.0.2")),
        ("host.docker.internal:8080:http", ExposeOption(8080, "http", "host.docker.internal")),
        ("[fd00::2]:8080:80", ExposeOption(8080, "80", "fd00::2")),
        ("localhost:8080:80", ExposeOption(8080, "80")),
        ("[::1]:8080:80", ExposeOption(8080, "80")),
    ],
)
def test_a_port_of_another_host(text: str, meant: ExposeOption) -> None:
    assert ports.parse_expose([text]) == (meant,)
    assert ports.parse_expose([str(meant)]) == (meant,)
    assert ports.resolve_ports(SEVERAL, [meant]) == (PortMapping(8080, 80, meant.host),)


@pytest.mark.parametrize(
    ("number", "name", "said", "is_http"),
    [(80, "", None, True), (80, "tcp-x", None, False), (7, "", None, False), (7, "", AppProtocol.HTTP, True)],
)
def test_whether_http_is_spoken(number: int, name: str, said: AppProtocol | None, is_http: bool) -> None:
    [found] = ports.resolve_ports(with_ports(port(number, name)), [ExposeOption(3001)], protocol=said)
    assert found.is_http == is_http


def test_a_local_port_without_a_number_has_that_of_the_pods() -> None:
    found = with_ports(port(80, "http", "web"), port(81, "raw", 8081), port(82, "odd", "gone"))
    pod = {"spec": {"containers": [{"name": "side"}, {"ports": [{"name": "web", "containerPort": 8080}]}]}}
    exposed = ports.resolve_ports(found, [ExposeOption(0, str(number)) for number in (80, 81, 82)])
    assert [one.local for one in ports.numbered_as_in_pods(found, exposed, pod)] == [8080, 8081, 82]
    assert [one.local for one in ports.numbered_as_in_pods(found, exposed, None)] == [80, 8081, 82]
    chosen = ports.resolve_ports(found, [ExposeOption(9000, "80")])
    assert [one.local for one in ports.numbered_as_in_pods(found, chosen, pod)] == [9000]


def test_parse_expose() -> None:
    found = ports.parse_expose(["3001:80,3002:grpc", " 8080 "])
    assert found == (ExposeOption(3001, "80"), ExposeOption(3002, "grpc"), ExposeOption(8080))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0:80",
        "80:",
        "70000",
        "80:70000",
        ":80",
        "-1:80",
        "3001:80:http",
        "1.2.3.4:80",
        "a b:1:2",
        "[x]:1:2",
        "[1]:1:2",
        "h:1:",
    ],
)
def test_what_is_no_expose(text: str) -> None:
    with pytest.raises(ValueError):
        ports.parse_expose([text])


@pytest.mark.parametrize(
    ("found", "spoken"),
    [
        (port(5000, appProtocol="http"), AppProtocol.HTTP),
        (port(5000, appProtocol="kubernetes.io/h2c"), AppProtocol.HTTP),
        (port(80, "http", appProtocol="kubernetes.io/wss"), AppProtocol.TLS),
        (port(80, "http", appProtocol="example.com/own"), AppProtocol.TCP),
        (port(5000, "http-admin"), AppProtocol.HTTP),
        (port(5000, "grpc-web"), AppProtocol.HTTP),
        (port(5000, "httpish"), AppProtocol.TCP),
        (port(5000, "https"), AppProtocol.TLS),
        (port(80, "tcp-raw"), AppProtocol.TCP),
        (port(80), AppProtocol.HTTP),
        (port(80, "web"), AppProtocol.HTTP),
        (port(443), AppProtocol.TLS),
        (port(8080), AppProtocol.TCP),
    ],
)
def test_what_is_spoken(found: Any, spoken: AppProtocol) -> None:
    assert ports.spoken_on(found) is spoken


SEVERAL = with_ports(port(80, "http"), port(9090, "metrics"), port(7, "echo-udp", protocol="UDP"))


@pytest.mark.parametrize(
    ("expose", "remote"), [("3001:80", 80), ("3001:metrics", 9090), ("9090", 9090), ("3001:http", 80)]
)
def test_the_port_that_is_meant(expose: str, remote: int) -> None:
    [found] = ports.resolve_ports(SEVERAL, ports.parse_expose([expose]))
    assert found.remote == remote


def test_the_only_tcp_port_need_not_be_named() -> None:
    only = with_ports(port(80, "http"), port(7, "echo-udp", protocol="UDP"))
    assert ports.resolve_ports(only, [ExposeOption(3001)]) == (PortMapping(3001, 80),)


@pytest.mark.parametrize("expose", ["3001:81", "3001:web", "3001"])
def test_an_unknown_port_lists_the_real_ones(expose: str) -> None:
    with pytest.raises(PortUnknown) as failure:
        ports.resolve_ports(SEVERAL, ports.parse_expose([expose]))
    assert failure.value.hint == "Its ports are: 80 (http), 9090 (metrics), 7 (echo-udp, UDP)."


@pytest.mark.parametrize("expose", ["3001:7", "3001:echo-udp", "3001:7/udp", "7", "3001/UDP"])
def test_the_service_says_that_a_port_is_udp(expose: str) -> None:
    [found] = ports.resolve_ports(SEVERAL, ports.parse_expose([expose]))
    assert (found.remote, found.protocol, str(found.service_port)) == (7, "UDP", "7/UDP")


def test_a_protocol_that_the_port_does_not_have() -> None:
    with pytest.raises(PortUnknown, match="has no UDP port 80"):
        ports.resolve_ports(SEVERAL, ports.parse_expose(["3001:80/udp"]))


DNS = with_ports(port(53, "dns-udp", protocol="UDP"), port(53, "dns"))


def test_both_ports_of_one_number() -> None:
    found = ports.resolve_ports(DNS, ports.parse_expose(["5353:53/udp,5354:53/tcp"]))
    assert found == (PortMapping(5353, 53, None, "UDP"), PortMapping(5354, 53))


@pytest.mark.parametrize("expose", ["5353:53", "53"])
def test_of_a_number_that_is_tcp_and_udp_the_user_says_which(expose: str) -> None:
    with pytest.raises(PortUnknown, match="does not say whether TCP or UDP is meant") as failure:
        ports.resolve_ports(DNS, ports.parse_expose([expose]))
    assert ":53/udp or " in str(failure.value.hint)


def test_of_a_number_that_is_tcp_and_udp_a_mesh_means_tcp() -> None:
    web = with_ports(port(443, "h3", protocol="UDP"), port(443, "http"))
    assert ports.resolve_ports(web, [ExposeOption(3001, "443")], by_request=True) == (PortMapping(3001, 443),)


def test_a_mesh_says_why_it_cannot_have_udp() -> None:
    with pytest.raises(TargetUnsuitable, match=r"^A mesh or tap picks HTTP requests, and UDP has none: port 7"):
        ports.resolve_ports(SEVERAL, ports.parse_expose(["3001:7"]), by_request=True)


def test_one_port_twice() -> None:
    with pytest.raises(RouteTaken, match=r"Port 80 \(http\) of web is exposed twice"):
        ports.resolve_ports(SEVERAL, ports.parse_expose(["3001:80,3002:http"]))


def test_mesh_needs_http() -> None:
    with pytest.raises(TargetUnsuitable, match=r"Nothing says that port 9090 \(metrics\) of web is HTTP"):
        ports.resolve_ports(SEVERAL, [ExposeOption(3001, "9090")], by_request=True)
    ports.resolve_ports(SEVERAL, [ExposeOption(3001, "9090")], by_request=True, protocol=AppProtocol.HTTP)


def test_mesh_cannot_see_into_tls() -> None:
    with pytest.raises(TargetUnsuitable, match="Clients speak TLS on port 443 of web"):
        ports.resolve_ports(with_ports(port(443)), [ExposeOption(3001)], by_request=True)
    ports.resolve_ports(with_ports(port(443)), [ExposeOption(3001)])


def test_where_the_gateway_listens() -> None:
    found = ports.gateway_ports(
        with_ports(
            port(80, "http", "web"), port(81, "admin", 8080), port(5000, "x", "named"), port(7, "u", 7007, "UDP")
        )
    )
    assert [(one.port, one.bind, one.target, one.http) for one in found] == [
        (80, 8081, "web", True),  # 8080 is taken by a target that is a number
        (81, 8080, None, False),
        (5000, 5000, "named", False),
        (7, 7007, None, False),
    ]


def test_what_the_user_says_counts() -> None:
    [found] = ports.gateway_ports(with_ports(port(5000)), {5000: AppProtocol.HTTP})
    assert found.http


def test_ports_that_the_pods_cannot_tell_apart_are_one() -> None:
    shared = with_ports(port(80, "http", 8080), port(8000, "alt", 8080))
    assert [one.port for one in ports.gateway_ports(shared)] == [80]
    exposed = ports.resolve_ports(shared, [ExposeOption(3001, "8000")])
    assert exposed == (PortMapping(3001, 80),)
    assert ports.shared_ports(shared, exposed) == [
        "Ports 80 and 8000 of web lead to the same port of the pods: all of them are exposed."
    ]
    assert ports.shared_ports(SEVERAL, (PortMapping(3001, 80),)) == []


def test_the_agents_own_ports_give_way() -> None:
    assert ports.agent_ports(ports.gateway_ports(SEVERAL)) == (2222, 2223)
    assert ports.agent_ports(ports.gateway_ports(with_ports(port(22, "ssh", 2222)))) == (2223, 2224)
    [named] = ports.gateway_ports(with_ports(port(2222, "ssh", "ssh")))
    assert named.bind not in (2222, 2223)
