"""Playbooks: who joins and leaves, and what the table says to it."""

import pytest
from ktpy_agent import routes
from ktpy_agent.routes import Refused, RouteTable, describe

from ktpy.wire.gateway import GatewaySpec, Port
from ktpy.wire.route import Header, Match, RouteHello, RouteRequest

HTTP = Port(80, "http", 8080, "TCP", http=True)
POSTGRES = Port(5432, "", 5432, "TCP", http=False)
DNS = Port(53, "dns", 53, "UDP", http=False)


@pytest.fixture
def table() -> RouteTable:
    return RouteTable(GatewaySpec("web", "10.96.1.2", (HTTP, POSTGRES, DNS)))


def mesh(*headers: tuple[str, str], path: str | None = None, baggage: dict[str, str] | None = None) -> Match:
    criteria = tuple(Header(name, text) for name, text in headers)
    return Match(criteria, path, tuple((baggage or {}).items()))


def hello(session: str, *matches: Match | None, port: int = 80) -> RouteHello:
    return RouteHello(session, f"{session}-owner", tuple(RouteRequest(port, match) for match in matches))


def refused(table: RouteTable, newcomer: RouteHello) -> tuple[str, str | None]:
    before = (table.routes, table.generation, table.last_owner.copy())
    with pytest.raises(Refused) as caught:
        table.join(newcomer)
    assert (table.routes, table.generation, table.last_owner) == before
    return caught.value.refusal.sentence, caught.value.refusal.holder


A = mesh(("version", "a"))
B = mesh(("version", "b"))


def test_meshes_and_an_exchange_stand_together_oldest_first(table: RouteTable) -> None:
    for session, match in [("s1", B), ("s2", None), ("s3", A)]:
        table.join(hello(session, match))
    assert [(route.session, route.serial) for route in table.routes] == [("s1", 1), ("s2", 2), ("s3", 3)]


def test_a_second_exchange_of_a_port_is_refused(table: RouteTable) -> None:
    table.join(hello("s1", None))
    assert refused(table, hello("s2", None)) == ("port 80 of service web is exchanged by s1-owner already", "s1-owner")
    table.join(hello("s2", None, port=5432))


def test_once_the_holder_has_left_it_can_be_had(table: RouteTable) -> None:
    table.join(hello("s1", None))
    table.leave("s1")
    table.join(hello("s2", None))
    assert [route.session for route in table.routes] == ["s2"]


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (A, A),
        (mesh(("a", "1"), ("b", "2")), mesh(("b", "2"), ("a", "1"))),
        (mesh(("v", "x"), baggage={"k": "x"}), mesh(("u", "y"), baggage={"k": "x"})),
        (mesh(("v", "x"), baggage={"k": "x"}), mesh(("v", "x"))),
        (mesh(path="/a"), mesh(path="/a")),
    ],
)
def test_the_same_requests_twice_are_refused(table: RouteTable, held: Match, asked: Match) -> None:
    table.join(hello("s1", held))
    sentence, holder = refused(table, hello("s2", asked))
    assert (sentence, holder) == ("port 80 of service web has a mesh with that match by s1-owner already", "s1-owner")


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (A, B),
        (A, mesh(("version", "a"), ("user", "b"))),
        (A, mesh(("version", "a"), path="/a")),
        (mesh(path="/a"), mesh(path="/b")),
        (mesh(("v", "x")), mesh(path="/a")),
        (mesh(("v", "x"), baggage={"k": "x"}), mesh(("v", "y"), baggage={"k": "y"})),
        (mesh(baggage={"k": "x"}), mesh(("v", "x"))),
    ],
)
def test_other_requests_are_not(table: RouteTable, held: Match, asked: Match) -> None:
    table.join(hello("s1", held))
    table.join(hello("s2", asked))


def test_one_session_may_not_ask_twice_for_the_same_either(table: RouteTable) -> None:
    assert refused(table, hello("s1", A, A))[1] == "s1-owner"


def test_a_session_gets_all_it_asks_for_or_nothing(table: RouteTable) -> None:
    table.join(hello("s1", B))
    refused(table, hello("s2", A, B))
    table.join(hello("s3", A))


def test_a_session_that_comes_again_replaces_itself_with_new_sockets(table: RouteTable) -> None:
    (old,) = table.join(hello("s1", None))
    (new,) = table.join(hello("s1", None))
    assert table.routes == (new,)
    assert old.stem != new.stem


def test_the_name_of_a_socket_cannot_be_guessed() -> None:
    spec = GatewaySpec("web", None, (DNS._replace(protocol="TCP"),))
    stems = [RouteTable(spec).join(hello("s1", None, port=53))[0].stem for _ in range(2)]
    assert stems[0] != stems[1]


def test_what_a_returning_session_cannot_have_leaves_it_what_it_had(table: RouteTable) -> None:
    table.join(hello("s1", A))
    table.join(hello("s2", B))
    refused(table, hello("s1", B))
    assert [route.match for route in table.routes] == [A, B]


@pytest.mark.parametrize(
    ("port", "match", "sentence"),
    [
        (81, None, "service web has no port 81; it has 80 (http), 5432, 53 (dns, UDP)"),
        (53, None, "service web has no port 53; it has 80 (http), 5432, 53 (dns, UDP)"),
        (5432, A, "port 5432 of service web is not HTTP, so no header can be matched on it"),
    ],
)
def test_what_cannot_be_is_refused_without_a_holder(
    table: RouteTable, port: int, match: Match | None, sentence: str
) -> None:
    assert refused(table, hello("s1", match, port=port)) == (sentence, None)


def test_a_tcp_port_beside_a_udp_port_of_the_same_number_can_be_had() -> None:
    table = RouteTable(GatewaySpec("dns", None, (DNS, DNS._replace(protocol="TCP"))))
    (route,) = table.join(hello("s1", None, port=53))
    assert route.port.protocol == "TCP"


def test_every_change_is_a_new_generation(table: RouteTable) -> None:
    assert table.generation == 1
    table.join(hello("s1", A))
    assert table.generation == 2
    table.leave("s1")
    assert table.generation == 3
    table.leave("s1")  # which has nothing any more
    assert table.generation == 3


def test_who_had_the_exchange_is_remembered(table: RouteTable) -> None:
    table.join(hello("s1", None))
    table.join(hello("s2", A))
    table.leave("s1")
    assert table.last_owner == {80: "s1-owner"}


def test_there_is_an_end_to_it(table: RouteTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_ROUTES", 2)
    for number in range(2):
        table.join(hello(f"s{number}", mesh(("version", str(number)))))
    sentence, _ = refused(table, hello("late", mesh(("version", "late"))))
    assert sentence == "the gateway of web has 2 routes, and takes 2"


def test_a_path_of_a_socket_fits_into_its_address(table: RouteTable) -> None:
    """108 bytes are all that sockaddr_un has; a session id is at most what an annotation's name leaves it."""
    session = "s" * (63 - len("authorized-key."))
    for _ in range(3):
        (route,) = table.join(hello(session, None, port=5432))
    assert len(f"/run/ktpy/routes/{route.stem}.alive.XXXXXX.tmp") < 108


def test_udp_and_tcp_of_one_number_are_two_ports() -> None:
    table = RouteTable(GatewaySpec("dns", "10.96.1.2", (DNS, DNS._replace(protocol="TCP"))))
    both = RouteHello("s1", "amy", (RouteRequest(53), RouteRequest(53, protocol="UDP")))
    assert [route.port.protocol for route in table.join(both)] == ["TCP", "UDP"]
    sentence, holder = refused(table, RouteHello("s2", "bob", (RouteRequest(53, protocol="UDP"),)))
    assert (sentence, holder) == ("port 53/UDP of service dns is exchanged by amy already", "amy")
    assert describe(table.routes) == "all of port 53, all of port 53/UDP"


def test_taps_are_in_nobodys_way(table: RouteTable) -> None:
    for session, match in [("s1", None), ("s2", A)]:
        table.join(hello(session, match))
    for session, match in [("s3", None), ("s4", None), ("s5", A)]:
        table.join(RouteHello(session, "amy", (RouteRequest(80, match, copied_percent=10),)))
    assert describe(table.routes[2:4]) == "10 % copies of all of port 80, 10 % copies of all of port 80"
    assert table.last_owner == {80: "s1-owner"}
    tap = RouteHello("s6", "amy", (RouteRequest(5432, copied_percent=10),))
    assert refused(table, tap)[0] == "port 5432 of service web is not HTTP, so no request can be copied"
