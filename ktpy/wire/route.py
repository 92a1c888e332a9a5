"""What laptop and gateway say to each other about a route: one JSON object a line. Pure.

Whoever may annotate the gateway's pods may send a hello, and what it names ends up in HAProxy's configuration: so each
field has to be of a narrow form here, and is quoted there.
"""

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeGuard

from ktpy.wire.version import VERSION, is_understood

BEAT: Final = b"{}\n"
TCP: Final = "TCP"
UDP: Final = "UDP"
ORIGIN: Final = "origin"
FAIL: Final = "fail"
MAX_ROUTES: Final = 64
MAX_CRITERIA: Final = 8
MAX_TEXT: Final = 256
MAX_OWNER: Final = 64

_HEADER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of RFC 9110's tokens what is used in practice
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # no space at the ends: HTTP cuts it off
_REGEX = re.compile(r"[\x20-\x7e]+")
_WRONG_EVERYWHERE = (
    "unterminated character set",
    "missing ), unterminated",
    "unbalanced parenthesis",
    "bad escape (end of pattern)",
    "min repeat greater than max repeat",
)
_PATH = re.compile(r"/[\x21\x22\x24-\x3e\x40-\x7e]*")  # neither fragment nor query
_BAGGAGE_KEY = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token, RFC 9110 5.6.2


class HelloError(ValueError):
    """The hello is refused; the message is the sentence the laptop shows."""


class Header(NamedTuple):
    """A Header is one request header that must have a value, or match a regular expression (PCRE, unanchored)."""

    name: str
    value: str
    is_regex: bool = False

    def document(self) -> dict[str, str]:
        return {"name": self.name, "regex" if self.is_regex else "exact": self.value}

    def __str__(self) -> str:
        return f"{self.name}{'~' if self.is_regex else ': '}{self.value}"


def parse_header(text: str) -> Header:
    """Read `name=value` or `name=~regex`. Raises ValueError, a sentence for the user, for what no gateway takes."""
    name, separator, value = text.partition("=")
    if not separator or not _fits(name, _HEADER_NAME):
        raise ValueError(f"{text!r} is not NAME=VALUE or NAME=~REGEX, such as x-user=alice.")
    is_regex = value.startswith("~")
    value = value[1:] if is_regex else value
    if not _fits(value, _REGEX if is_regex else _HEADER_VALUE):
        raise ValueError(f"The value of header {name} has to be 1 to 256 printable ASCII characters, no space around.")
    if is_regex and (problem := _regex_problem(value)) is not None:
        raise ValueError(f"The regular expression of header {name} is not valid: {problem}.")
    return Header(name, value, is_regex)


def _regex_problem(pattern: str) -> str | None:
    """Say what is wrong with a regular expression for Python and PCRE alike; HAProxy has the last word."""
    if "\\Q" in pattern or "(*" in pattern:  # PCRE's own
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except re.error as error:
        before = pattern[: error.pos or 0]
        is_nothing = error.msg == "nothing to repeat" and before[-1:] in ("", "(", "|") and pattern[len(before)] != "{"
        if is_nothing or error.msg.startswith(_WRONG_EVERYWHERE):
            return f"{error.msg}, at character {len(before) + 1}"
    return None


def is_path_prefix(text: str) -> bool:
    """Return whether a gateway takes this as the path prefix of a match."""
    return _fits(text, _PATH)


class Match(NamedTuple):
    """A Match means the requests with all the headers, or with the W3C baggage; in either case below the path."""

    headers: tuple[Header, ...] = ()
    path_prefix: str | None = None
    baggage: tuple[tuple[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        return {
            "headers": [header.document() for header in self.headers],
            "path_prefix": self.path_prefix,
            "baggage": dict(self.baggage) or None,
        }

    def __str__(self) -> str:
        parts = [str(header) for header in self.headers]
        parts += [f"path {self.path_prefix}"] if self.path_prefix else []
        return " and ".join(parts)


class ServicePort(NamedTuple):
    """A ServicePort is a port of a Service, by its number and protocol: 53/TCP and 53/UDP are two."""

    number: int
    protocol: str = TCP

    def __str__(self) -> str:
        """Write it as kubectl does, without the protocol where that is TCP."""
        return str(self.number) if self.protocol == TCP else f"{self.number}/{self.protocol}"

    @classmethod
    def parse(cls, text: str) -> "ServicePort":
        """Read what `str` wrote. Raises ValueError."""
        number, _, protocol = text.partition("/")
        return cls(int(number), protocol or TCP)


class RouteRequest(NamedTuple):
    """A RouteRequest asks for some or all requests of one port; for all datagrams of one that is UDP."""

    port: int
    match: Match | None = None
    """None takes all requests of the port: an exchange."""
    when_local_down: str = ORIGIN
    """While the laptop's local port is closed, requests turn to the original pods (ORIGIN) or get a 503 (FAIL)."""
    protocol: str = TCP
    """TCP or UDP."""
    copied_percent: int | None = None
    """A tap gets copies of this share of the requests; None where they come themselves."""

    def document(self) -> dict[str, Any]:
        """Render it. A tap stands in the match: an agent that knows of none refuses it there, and takes no request."""
        match = self.match.document() if self.match is not None else None
        if self.copied_percent is not None:
            match = (self.match or Match()).document() | {"tap": self.copied_percent}
        return {
            "port": self.port,
            "match": match,
            "when_local_down": self.when_local_down,
            "protocol": self.protocol,
        }


class RouteHello(NamedTuple):
    """A RouteHello is what a laptop says first: who it is, and which requests it asks for."""

    session: str
    owner: str
    routes: tuple[RouteRequest, ...]

    @property
    def ports(self) -> tuple[ServicePort, ...]:
        return tuple(ServicePort(route.port, route.protocol) for route in self.routes)

    def line(self) -> bytes:
        """Render the hello."""
        routes = [route.document() for route in self.routes]
        return _line({"version": VERSION, "session": self.session, "owner": self.owner, "routes": routes})

    @classmethod
    def parse(cls, line: bytes, session: str) -> "RouteHello":
        """Read and check a hello; `session` is whose key opened the SSH connection.

        Keys it does not know are ignored, but not in a match: that would take requests nobody asked for. Raises
        HelloError.
        """
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise HelloError("the hello line is not JSON") from exc
        fields = _fields(document, "hello", {"version", "session", "owner", "routes"})
        if not is_understood(fields["version"]):
            version = str(fields["version"])[:20]
            raise HelloError(f"the hello line is of version {version!r}, and this gateway reads {VERSION}")
        if fields["session"] != session:
            raise HelloError("the hello line names another session than the key that logged in")
        owner = fields["owner"]
        if not isinstance(owner, str) or not owner.isprintable() or not 0 < len(owner) <= MAX_OWNER:
            raise HelloError(f"the owner has to be printable text of at most {MAX_OWNER} characters")
        routes = tuple(_route(item) for item in _list(fields["routes"], "routes", MAX_ROUTES))
        if not routes:
            raise HelloError("the hello line asks for no route")
        return cls(session, owner, routes)


class Refusal(NamedTuple):
    """A Refusal is the answer of a gateway that takes no route."""

    sentence: str
    holder: str | None = None
    """This is who has the port or the match already, if that is why."""
    for_now: bool = False
    """This says whether the same may be taken in a moment."""

    def line(self) -> bytes:
        """Render the answer to a hello."""
        return _line({"refused": self.sentence, "holder": self.holder, "for_now": self.for_now, "udp": True})


class UdpUnknown(ValueError):
    """The agent that answers is older than routes of UDP ports."""


def accepted_line(sockets: Iterable[tuple[ServicePort, str]]) -> bytes:
    """Render the answer to a hello that is accepted: each route's port, and the path in the pod of its unix socket."""
    accepted = [{"port": port.number, "protocol": port.protocol, "socket": path} for port, path in sockets]
    return _line({"accepted": accepted, "udp": True})


def parse_answer(line: bytes, ports: Iterable[ServicePort]) -> dict[ServicePort, str] | Refusal:
    """Return the path in the pod of each port's unix socket.

    Raises ValueError for what is no answer to our hello, UdpUnknown where one of `ports` is UDP and the agent does not
    say that it knows of those.
    """
    message = _object(line)
    if message.get("udp") is not True and any(port.protocol == UDP for port in ports):
        raise UdpUnknown
    if "refused" in message:
        return Refusal(str(message["refused"]), message.get("holder"), bool(message.get("for_now")))
    try:
        sockets = {
            ServicePort(int(entry["port"]), str(entry.get("protocol", TCP))): str(entry["socket"])
            for entry in message["accepted"]
        }
    except (KeyError, TypeError, AttributeError, OverflowError) as exc:
        raise ValueError(f"its answer lacks {exc}") from exc
    if missing := set(ports) - sockets.keys():
        raise ValueError(f"it did not accept port {min(missing)}")
    return sockets


class RouteCounters(NamedTuple):
    """RouteCounters are what a gateway's pod has counted for one port since it accepted the route.

    Requests of HTTP, datagrams of UDP, else connections.
    """

    requests: int = 0
    fallbacks: int = 0
    """These requests were the laptop's and went to the original pods, because it did not answer."""
    is_up: bool = False
    """This says whether the gateway sends requests to the laptop now."""
    passed: int | None = None
    """So many of everybody's requests have passed this port; None where a gateway is older, and does not count them."""
    dropped: int = 0
    """These copies were a tap's, and were not answered in time, or too many waited already."""
    skipped: int = 0
    """These requests were a tap's, and are of a kind that is not copied."""


def total_of(counters: Iterable[RouteCounters]) -> RouteCounters:
    """Add up what several pods have counted; requests come to the laptop while any of them sends them."""
    every = tuple(counters)
    passed = [one.passed for one in every if one.passed is not None]
    return RouteCounters(
        sum(one.requests for one in every),
        sum(one.fallbacks for one in every),
        any(one.is_up for one in every),
        sum(passed) if passed else None,
        sum(one.dropped for one in every),
        sum(one.skipped for one in every),
    )


def counters_line(counters: Mapping[ServicePort, RouteCounters]) -> bytes:
    """Render the counters of a session's ports."""
    return _line({"counters": {str(port): counted._asdict() for port, counted in counters.items()}})


def parse_counters(line: bytes) -> dict[ServicePort, RouteCounters]:
    """Return counters by port, none for a line about something else. Raises ValueError for what is no message."""
    message = _object(line)
    try:
        return {
            ServicePort.parse(port): RouteCounters(
                int(of["requests"]),
                int(of["fallbacks"]),
                bool(of["is_up"]),
                None if (passed := of.get("passed")) is None else int(passed),
                int(of.get("dropped", 0)),
                int(of.get("skipped", 0)),
            )
            for port, of in message.get("counters", {}).items()
        }
    except (KeyError, TypeError, AttributeError, OverflowError) as exc:
        raise ValueError(f"its counters lack {exc}") from exc


def _route(item: object) -> RouteRequest:
    fields = _fields(item, "route", {"port", "match", "when_local_down"})
    port, when_local_down, protocol = fields["port"], fields["when_local_down"], fields.get("protocol", TCP)
    if type(port) is not int or not 0 < port < 65536:
        raise HelloError("a route's port has to be a number from 1 to 65535")
    if when_local_down not in (ORIGIN, FAIL):
        raise HelloError("when_local_down has to be origin or fail")
    wanted, percent = _untapped(fields["match"])
    match = None if wanted is None else _match(wanted)
    if protocol not in (TCP, UDP) or ((match or percent) and protocol == UDP):
        raise HelloError("a route's protocol has to be TCP, or UDP without a match: datagrams have no headers")
    return RouteRequest(port, match, when_local_down, protocol, percent)


def _untapped(item: object) -> tuple[object, int | None]:
    """Return a match without its tap, which may be all there is of it, and the tap's percentage."""
    if not isinstance(item, dict) or "tap" not in item:
        return item, None
    percent = item["tap"]
    if type(percent) is not int or not 0 < percent <= 100:
        raise HelloError("the share of a tap has to be a whole percentage from 1 to 100")
    rest = {key: value for key, value in item.items() if key != "tap"}
    return (rest if any(rest.values()) else None), percent


def _match(item: object) -> Match:
    known = {"headers", "path_prefix", "baggage"}
    fields = _fields(item, "match", known)
    if unknown := fields.keys() - known:
        raise HelloError(f"this gateway cannot match by {', '.join(sorted(unknown))}")
    match = Match(
        tuple(dict.fromkeys(_header(header) for header in _list(fields["headers"], "headers", MAX_CRITERIA))),
        None if fields["path_prefix"] is None else _text(fields["path_prefix"], "path prefix", _PATH),
        tuple(_baggage(fields["baggage"])),
    )
    if match == Match():
        raise HelloError("a match has to name a header, a path prefix or baggage")
    return match


def _header(item: object) -> Header:
    """Read a header, its name in lower case: names of header fields have none (RFC 9110, 5.1)."""
    if isinstance(item, dict) and len(item) == 2 and "name" in item:
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


def _fits(value: object, form: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_TEXT and form.fullmatch(value) is not None


def _text(value: object, what: str, form: re.Pattern[str]) -> str:
    if not _fits(value, form):
        raise HelloError(f"the {what} has characters that cannot be matched, or is longer than {MAX_TEXT}")
    return value


def _list(value: object, what: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise HelloError(f"{what} has to be a list of at most {limit}")
    return value


def _fields(value: object, what: str, fields: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or not fields <= value.keys():
        raise HelloError(f"a {what} has to have the fields {', '.join(sorted(fields))}")
    return value


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    if not isinstance(message, dict):
        raise ValueError("it does not speak in JSON objects")  # noqa: TRY004 - of the value, not of the type
    return message
