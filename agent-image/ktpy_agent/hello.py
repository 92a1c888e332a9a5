"""A laptop's first line on a route's SSH session: who it is and which requests it asks for.

Whoever may annotate the gateway's pods may send one, and what it names ends up in HAProxy's configuration: so each
field has to be of a narrow form here, and is quoted there.
"""

import json
import re
from typing import Any, NamedTuple

MAX_LINE_BYTES = 65536
MAX_ROUTES = 64
MAX_CRITERIA = 8
MAX_TEXT = 256
MAX_OWNER = 64

_HEADER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of RFC 9110's tokens what is used in practice
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # no space at the ends: HTTP cuts it off
_REGEX = re.compile(r"[\x20-\x7e]+")
_PATH = re.compile(r"/[\x21\x22\x24-\x3e\x40-\x7e]*")  # neither fragment nor query
_BAGGAGE_KEY = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token, RFC 9110 5.6.2


class HelloError(ValueError):
    """The line is refused; the message is the sentence the laptop shows."""


class Header(NamedTuple):
    name: str
    """In lower case: names of header fields have none (RFC 9110, 5.1)."""
    text: str
    is_regex: bool


class Match(NamedTuple):
    """Which requests: those with all the headers, or with the baggage; in either case below the path prefix."""

    headers: frozenset[Header]
    path_prefix: str | None
    baggage: frozenset[tuple[str, str]]


class RouteRequest(NamedTuple):
    port: int
    match: Match | None
    """None: every request of the port, an exchange."""
    fails_when_down: bool
    """While the laptop's local port is closed, answer 503 instead of turning to the original pods."""


class Hello(NamedTuple):
    session: str
    owner: str
    routes: tuple[RouteRequest, ...]


def parse_hello(line: bytes, session: str) -> Hello:
    """Read and check a hello; `session` is whose key opened the SSH connection."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise HelloError("the hello line is not JSON") from exc
    fields = _object(document, "hello", {"version", "session", "owner", "routes"})
    if fields["version"] != 1:
        raise HelloError(f"the hello line is of version {str(fields['version'])[:20]!r}, and this gateway reads 1")
    if fields["session"] != session:
        raise HelloError("the hello line names another session than the key that logged in")
    owner = fields["owner"]
    if not isinstance(owner, str) or not owner.isprintable() or not 0 < len(owner) <= MAX_OWNER:
        raise HelloError(f"the owner has to be printable text of at most {MAX_OWNER} characters")
    routes = tuple(_route(item) for item in _list(fields["routes"], "routes", MAX_ROUTES))
    if not routes:
        raise HelloError("the hello line asks for no route")
    return Hello(session, owner, routes)


def _route(item: object) -> RouteRequest:
    fields = _object(item, "route", {"port", "match", "when_local_down"})
    port, when_local_down = fields["port"], fields["when_local_down"]
    if type(port) is not int or not 0 < port < 65536:
        raise HelloError("a route's port has to be a number from 1 to 65535")
    if when_local_down not in ("origin", "fail"):
        raise HelloError("when_local_down has to be origin or fail")
    return RouteRequest(port, None if fields["match"] is None else _match(fields["match"]), when_local_down == "fail")


def _match(item: object) -> Match:
    fields = _object(item, "match", {"headers", "path_prefix", "baggage"})
    match = Match(
        frozenset(_header(header) for header in _list(fields["headers"], "headers", MAX_CRITERIA)),
        None if fields["path_prefix"] is None else _text(fields["path_prefix"], "path prefix", _PATH),
        frozenset(_baggage(fields["baggage"])),
    )
    if match == Match(frozenset(), None, frozenset()):
        raise HelloError("a match has to name a header, a path prefix or baggage")
    return match


def _header(item: object) -> Header:
    if not isinstance(item, dict) or len(item) != 2 or "name" not in item:
        raise HelloError("a header has to have a name, and exact or regex")
    name = _text(item["name"], "header name", _HEADER_NAME).lower()
    if "exact" in item:
        return Header(name, _text(item["exact"], f"value of header {name}", _HEADER_VALUE), is_regex=False)
    if "regex" in item:
        return Header(name, _text(item["regex"], f"regex of header {name}", _REGEX), is_regex=True)
    raise HelloError("a header has to have a name, and exact or regex")


def _baggage(item: object) -> list[tuple[str, str]]:
    if item is None:
        return []
    if not isinstance(item, dict) or not 0 < len(item) <= MAX_CRITERIA:
        raise HelloError(f"baggage has to be an object of at most {MAX_CRITERIA} members")
    members = []
    for key, value in item.items():
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 64 or value != value.strip():
            raise HelloError("a value in baggage has to be printable text of at most 64 characters")
        members.append((_text(key, "key in baggage", _BAGGAGE_KEY), value))
    return members


def _text(value: object, what: str, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not form.fullmatch(value):
        raise HelloError(f"the {what} has characters that cannot be matched, or is longer than {MAX_TEXT}")
    return value


def _list(value: object, what: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise HelloError(f"{what} has to be a list of at most {limit}")
    return value


def _object(value: object, what: str, fields: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != fields:
        raise HelloError(f"a {what} has to have exactly the fields {', '.join(sorted(fields))}")
    return value
