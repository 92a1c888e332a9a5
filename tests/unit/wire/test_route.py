import json

import pytest

from ktpy.wire.route import (
    FAIL,
    Header,
    HelloError,
    Match,
    Refusal,
    RouteCounters,
    RouteHello,
    RouteRequest,
    ServicePort,
    UdpUnknown,
    accepted_line,
    counters_line,
    parse_answer,
    parse_counters,
    parse_header,
    total_of,
)

HTTP, OTHER = ServicePort(80), ServicePort(81)
DOCUMENT = {"version": 1, "session": "ab12", "owner": "alice"}


def test_an_exchange_asks_for_all_requests_of_each_port() -> None:
    line = RouteHello("ab12", "alice", (RouteRequest(80, None, FAIL), RouteRequest(443, None, FAIL))).line()
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "version": 1,
        "session": "ab12",
        "owner": "alice",
        "routes": [
            {"port": 80, "match": None, "when_local_down": "fail", "protocol": "TCP"},
            {"port": 443, "match": None, "when_local_down": "fail", "protocol": "TCP"},
        ],
    }


def test_a_mesh_names_what_it_wants() -> None:
    match = Match(
        (Header("VERSION", "foobar"), Header("x-user", "^al", is_regex=True)), "/api", (("ktpy-version", "v"),)
    )
    [route] = json.loads(RouteHello("ab12", "alice", (RouteRequest(80, match),)).line())["routes"]
    assert route["match"] == {
        "headers": [{"name": "VERSION", "exact": "foobar"}, {"name": "x-user", "regex": "^al"}],
        "path_prefix": "/api",
        "baggage": {"ktpy-version": "v"},
    }


def test_a_tap_stands_in_the_match_where_older_gateways_refuse_it() -> None:
    mesh = Match((Header("a", "1"),))
    hello = RouteHello(
        "ab12", "alice", (RouteRequest(80, copied_percent=7), RouteRequest(80, mesh, copied_percent=100))
    )
    assert RouteHello.parse(hello.line(), "ab12") == hello
    routes = json.loads(hello.line())["routes"]
    assert [route["match"]["tap"] for route in routes] == [7, 100]
    for percent in (0, 101, "7", True, None):
        routes[0]["match"]["tap"] = percent
        with pytest.raises(HelloError, match="whole percentage"):
            RouteHello.parse(json.dumps(DOCUMENT | {"routes": routes}).encode(), "ab12")
    routes[0] |= {"protocol": "UDP", "match": {"tap": 7}}
    with pytest.raises(HelloError, match="datagrams"):
        RouteHello.parse(json.dumps(DOCUMENT | {"routes": routes}).encode(), "ab12")


def test_tcp_and_udp_of_one_number_are_two_ports() -> None:
    hello = RouteHello("ab12", "alice", (RouteRequest(53), RouteRequest(53, protocol="UDP")))
    assert RouteHello.parse(hello.line(), "ab12") == hello
    tcp, udp = hello.ports
    assert (str(tcp), str(udp)) == ("53", "53/UDP")
    assert parse_answer(accepted_line([(tcp, "/a"), (udp, "/b")]), hello.ports) == {tcp: "/a", udp: "/b"}
    counters = {tcp: RouteCounters(1), udp: RouteCounters(2, 1, is_up=True)}
    assert parse_counters(counters_line(counters)) == counters


@pytest.mark.parametrize(
    "line",
    [
        b'{"accepted": [{"port": 53, "socket": "/run/a.sock"}]}',
        b'{"refused": "port 53 of service dns is UDP", "holder": null}',
    ],
)
def test_an_agent_that_does_not_say_that_it_knows_udp_is_older(line: bytes) -> None:
    with pytest.raises(UdpUnknown):
        parse_answer(line, [ServicePort(53, "UDP")])


@pytest.mark.parametrize("protocol", ["SCTP", "udp", None, 7])
def test_a_route_of_another_protocol_is_refused(protocol: object) -> None:
    route = {"port": 53, "match": None, "when_local_down": "origin", "protocol": protocol}
    with pytest.raises(HelloError, match="TCP, or UDP without a match"):
        RouteHello.parse(json.dumps(DOCUMENT | {"routes": [route]}).encode(), "ab12")


def test_datagrams_have_no_headers_to_match() -> None:
    match = Match((Header("version", "a"),))
    with pytest.raises(HelloError, match="datagrams have no headers"):
        RouteHello.parse(RouteHello("ab12", "alice", (RouteRequest(53, match, protocol="UDP"),)).line(), "ab12")


def test_accepted() -> None:
    line = b'{"accepted": [{"port": 80, "socket": "/run/a.sock"}, {"port": 81, "socket": "/run/b.sock"}]}'
    assert parse_answer(line, [HTTP, OTHER]) == {HTTP: "/run/a.sock", OTHER: "/run/b.sock"}


def test_refused_names_the_holder() -> None:
    line = b'{"refused": "port 80 is exchanged by bob already", "holder": "bob"}'
    assert parse_answer(line, [HTTP]) == Refusal("port 80 is exchanged by bob already", "bob")


def test_refused_for_now() -> None:
    line = b'{"refused": "this gateway of web is about to end", "holder": null, "for_now": true}'
    assert parse_answer(line, [HTTP]) == Refusal("this gateway of web is about to end", for_now=True)


def test_what_a_gateway_renders_is_what_a_laptop_reads() -> None:
    assert parse_answer(accepted_line([(HTTP, "/a"), (OTHER, "/b")]), [HTTP, OTHER]) == {HTTP: "/a", OTHER: "/b"}
    refusal = Refusal("port 80 is exchanged by bob already", "bob")
    assert parse_answer(refusal.line(), [HTTP]) == refusal
    counters = {HTTP: RouteCounters(2, 1, is_up=True, passed=7, dropped=3, skipped=4)}
    assert parse_counters(counters_line(counters)) == counters


@pytest.mark.parametrize(
    "line",
    [b"", b"Welcome", b"[]", b"7", b"{}", b'{"accepted": 1}', b'{"accepted": []}', b'{"accepted": [{}]}', b"\xff"],
)
def test_what_is_no_answer(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_answer(line, [HTTP])


def test_counters() -> None:
    line = b'{"counters": {"80": {"requests": 12, "fallbacks": 1, "is_up": true}}}'
    assert parse_counters(line) == {HTTP: RouteCounters(12, 1, is_up=True)}
    assert parse_counters(b'{"news": "of a later version"}') == {}


@pytest.mark.parametrize(
    "line", [b"x", b"[]", b'{"counters": 1}', b'{"counters": {"80": {}}}', b'{"counters": {"80": 1}}']
)
def test_what_are_no_counters(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_counters(line)


def test_counters_of_several_pods_add_up() -> None:
    total = total_of([RouteCounters(2, 1, is_up=False), RouteCounters(3, 0, is_up=True)])
    assert total == RouteCounters(5, 1, is_up=True)
    counting = [RouteCounters(passed=2, dropped=1), RouteCounters(passed=3, dropped=1, skipped=1), RouteCounters()]
    assert total_of(counting) == RouteCounters(passed=5, dropped=2, skipped=1)


def test_a_match_reads_as_a_person_would_say_it() -> None:
    match = Match((Header("VERSION", "foobar"), Header("x-user", "^al", is_regex=True)), "/api")
    assert str(match) == "VERSION: foobar and x-user~^al and path /api"


@pytest.mark.parametrize("pattern", ["(", "a)", "[a", "[]", "a|*", "+", "x{3,2}", "a\\"])
def test_a_regular_expression_that_nothing_takes(pattern: str) -> None:
    with pytest.raises(ValueError, match="The regular expression of header x is not valid: "):
        parse_header(f"x=~{pattern}")


@pytest.mark.parametrize(
    "pattern",
    [
        "^al(ice)?$",
        "[[:alpha:]]+",
        "^*",
        "a{2}{3}",
        r"[\w-z]",
        r"\Q(\E",
        "(*UCP)a",
        r"\Kx",
        "(?|a|b)",
        "(?R)?",
        r"\p{L}",
        "a++",
        "{",
        "{,3}x",
        "(?i)a",
        "a(?#note)b",
    ],
)
def test_what_pcre_may_take_is_left_to_the_gateway(pattern: str) -> None:
    assert parse_header(f"x=~{pattern}").value == pattern


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"counters": {"80": {"requests": 1e999, "fallbacks": 0, "is_up": true}}, "accepted": [{"port": Infinity}]}',
    ],
)
def test_infinite_numbers_and_nesting_without_end_are_no_message(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_counters(line)
    with pytest.raises(ValueError):
        parse_answer(line, (HTTP,))
