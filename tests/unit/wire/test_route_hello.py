import json
from typing import Any

import pytest

from ktpy.wire.route import FAIL, Header, HelloError, Match, RouteHello, RouteRequest
from ktpy.wire.version import VERSION

MATCH = {"headers": [{"name": "VERSION", "exact": "foobar"}], "path_prefix": None, "baggage": None}
ROUTE = {"port": 80, "match": MATCH, "when_local_down": "origin"}

# What could end a word, a line, an expression or a comment of HAProxy's configuration, or begin something of its own.
HOSTILE = ["\n", "a\nb", "a\r\nb", "a\x00b", "\t", "a\x1bb", "a\u2028b", "caf\u00e9", "\x7f"]


def line(**changes: Any) -> bytes:
    return json.dumps({"version": 1, "session": "s1", "owner": "amy", "routes": [ROUTE], **changes}).encode()


def with_match(**changes: Any) -> bytes:
    return line(routes=[{**ROUTE, "match": {**MATCH, **changes}}])


def with_header(header: Any) -> bytes:
    return with_match(headers=[header])


def refused(hello: bytes) -> str:
    with pytest.raises(HelloError) as caught:
        RouteHello.parse(hello, "s1")
    return str(caught.value)


def match_of(hello: bytes) -> Match:
    match = RouteHello.parse(hello, "s1").routes[0].match
    assert match
    return match


def test_a_mesh_and_an_exchange() -> None:
    routes = [ROUTE, {"port": 443, "match": None, "when_local_down": "fail"}]
    match = Match((Header("version", "foobar"),))
    assert RouteHello.parse(line(routes=routes), "s1") == RouteHello(
        "s1", "amy", (RouteRequest(80, match), RouteRequest(443, None, FAIL))
    )


def test_a_match_with_everything() -> None:
    headers = [{"name": "A", "exact": "x y"}, {"name": "b", "regex": "^(al|bo)$"}]
    assert match_of(with_match(headers=headers, path_prefix="/api", baggage={"ktpy-version": "foo"})) == Match(
        (Header("a", "x y", is_regex=False), Header("b", "^(al|bo)$", is_regex=True)),
        "/api",
        (("ktpy-version", "foo"),),
    )


@pytest.mark.parametrize("version", [VERSION - 1, VERSION, VERSION + 1])
def test_a_laptop_one_version_older_or_newer_is_understood(version: int) -> None:
    assert RouteHello.parse(line(version=version), "s1") == RouteHello.parse(line(), "s1")


def test_a_laptop_of_a_far_version_is_told_which_one_this_is() -> None:
    assert (
        refused(line(version=VERSION + 2)) == f"the hello line is of version '{VERSION + 2}', and this gateway reads 1"
    )


def test_keys_of_a_later_version_are_ignored() -> None:
    hello = line(routes=[{**ROUTE, "later": 1}], later=1)
    assert RouteHello.parse(hello, "s1") == RouteHello.parse(line(), "s1")


def test_a_match_by_what_is_unknown_is_refused_for_it_would_take_too_much() -> None:
    assert refused(with_match(query="x")) == "this gateway cannot match by query"


def test_what_a_laptop_renders_is_what_a_gateway_reads() -> None:
    match = Match((Header("version", "a"), Header("user", "^al", is_regex=True)), "/api", (("ktpy-version", "a"),))
    hello = RouteHello("s1", "amy", (RouteRequest(80, match), RouteRequest(81, None, FAIL)))
    assert RouteHello.parse(hello.line(), "s1") == hello


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 60000, b'"x"', b"{}"])
def test_what_is_no_hello_is_refused(text: bytes) -> None:
    assert refused(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": VERSION - 2},
        {"version": VERSION + 2},
        {"version": "1"},
        {"version": True},
        {"session": "s2"},
        {"owner": ""},
        {"owner": "a" * 65},
        {"owner": None},
        {"routes": []},
        {"routes": [ROUTE] * 65},
        {"routes": {}},
        {"routes": [None]},
        *({"owner": owner} for owner in HOSTILE if owner != "caf\u00e9"),
    ],
)
def test_a_wrong_field_is_refused(changes: dict[str, Any]) -> None:
    assert refused(line(**changes))


def test_an_owner_may_be_called_anything_printable() -> None:
    assert RouteHello.parse(line(owner='Ren\u00e9 O\'Hara} # "x"'), "s1").owner == 'Ren\u00e9 O\'Hara} # "x"'


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 0},
        {"port": 65536},
        {"port": "80"},
        {"port": True},
        {"port": 80.0},
        {"when_local_down": "hang"},
        {"when_local_down": None},
        {"match": []},
        {"match": {}},
        {"match": {**MATCH, "query": "x"}},
    ],
)
def test_a_wrong_route_is_refused(changes: dict[str, Any]) -> None:
    assert refused(line(routes=[{**ROUTE, **changes}]))


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a)b", "a,b", "a}", "a'", 'a"', "a\\", "a#", "a$", "-f", "a" * 65, 7, None, *HOSTILE]
)
def test_a_header_name_that_could_be_more_than_a_name_is_refused(name: object) -> None:
    assert "header name" in refused(with_header({"name": name, "exact": "x"}))


@pytest.mark.parametrize("value", ["", " x", "x ", "x" * 257, 7, None, *HOSTILE])
def test_a_header_value_that_no_request_could_carry_is_refused(value: object) -> None:
    assert "value of header" in refused(with_header({"name": "a", "exact": value}))


@pytest.mark.parametrize("regex", ["", "x" * 257, 7, None, *HOSTILE])
def test_a_regex_that_no_request_could_need_is_refused(regex: object) -> None:
    assert "regex of header" in refused(with_header({"name": "a", "regex": regex}))


@pytest.mark.parametrize(
    "header", [None, [], {}, {"name": "a"}, {"name": "a", "exact": "x", "regex": "x"}, {"exact": "x"}]
)
def test_a_header_that_is_not_one_criterion_is_refused(header: object) -> None:
    assert refused(with_header(header))


@pytest.mark.parametrize("prefix", ["", "api", "/a b", "/a?b", "/a#b", "/" + "a" * 256, 7, *(f"/{x}" for x in HOSTILE)])
def test_a_path_that_is_no_path_is_refused(prefix: object) -> None:
    assert "path prefix" in refused(with_match(path_prefix=prefix))


@pytest.mark.parametrize(
    "baggage",
    [
        {},
        [],
        "a=b",
        {"": "x"},
        {"a b": "x"},
        {"a,b": "x"},
        {"a=b": "x"},
        {"a": ""},
        {"a": " x"},
        {"a": "x" * 65},
        {"a": 7},
        {"a": "x\ny"},
        {str(number): "x" for number in range(9)},
    ],
)
def test_baggage_that_is_none_is_refused(baggage: object) -> None:
    assert "baggage" in refused(with_match(baggage=baggage))


def test_a_match_of_nothing_is_refused() -> None:
    assert "has to name" in refused(with_match(headers=[]))


def test_too_many_headers_are_refused() -> None:
    assert refused(with_match(headers=[{"name": "a", "exact": str(number)} for number in range(9)]))
