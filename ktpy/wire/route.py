"""What laptop and gateway say to each other about a route: one JSON object a line. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ktpy.errors import PodNotReady, RouteTaken

VERSION: Final = 1
BEAT: Final = b"{}\n"
ORIGIN: Final = "origin"
FAIL: Final = "fail"
_HEADER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of RFC 9110's tokens what is used in practice
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,256}")


class RouteNotYet(PodNotReady):
    """This pod of the gateway takes no route just now; in a moment it will, or another one."""


@dataclass(frozen=True, slots=True)
class Header:
    """One request header that must have a value, or match a regular expression (PCRE, unanchored)."""

    name: str
    value: str
    is_regex: bool = False

    def document(self) -> dict[str, str]:
        return {"name": self.name, "regex" if self.is_regex else "exact": self.value}

    def __str__(self) -> str:
        return f"{self.name}{'~' if self.is_regex else ': '}{self.value}"


def parse_header(text: str) -> Header:
    """`name=value` or `name=~regex`. ValueError, with a sentence for the user, for what the gateway would not take."""
    name, separator, value = text.partition("=")
    if not separator or not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is not NAME=VALUE or NAME=~REGEX, such as x-user=alice.")
    is_regex = value.startswith("~")
    value = value[1:] if is_regex else value
    if not _PRINTABLE.fullmatch(value) or (value != value.strip() and not is_regex):
        raise ValueError(f"The value of header {name} has to be 1 to 256 printable ASCII characters, no space around.")
    return Header(name, value, is_regex)


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests are meant: all headers and the path prefix; or, as an alternative, the W3C baggage."""

    headers: tuple[Header, ...] = ()
    path_prefix: str | None = None
    baggage: Mapping[str, str] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class Hello:
    """What a laptop asks of a gateway. `match` None takes all requests of the ports: an exchange."""

    session: str
    owner: str
    ports: tuple[int, ...]
    match: Match | None = None
    when_local_down: str = ORIGIN

    def line(self) -> bytes:
        match = self.match.document() if self.match is not None else None
        routes = [{"port": port, "match": match, "when_local_down": self.when_local_down} for port in self.ports]
        message = {"version": VERSION, "session": self.session, "owner": self.owner, "routes": routes}
        return json.dumps(message).encode() + b"\n"


def parse_answer(line: bytes, ports: Iterable[int]) -> dict[int, str]:
    """The path in the pod of the unix socket for each port.

    Raises RouteTaken when somebody else has the port or the match, RouteNotYet for what passes, ValueError for what is
    no answer to our hello.
    """
    message = _object(line)
    if "refused" in message:
        sentence = f"{str(message['refused']).rstrip('.')}."
        if message.get("for_now"):
            raise RouteNotYet(sentence)
        raise RouteTaken(
            sentence,
            hint="Nothing was changed. Ask the holder, or take another port or match."
            if message.get("holder")
            else None,
        )
    try:
        sockets = {int(entry["port"]): str(entry["socket"]) for entry in message["accepted"]}
    except (KeyError, TypeError) as exc:
        raise ValueError(f"its answer lacks {exc}") from exc
    if missing := set(ports) - sockets.keys():
        raise ValueError(f"it did not accept port {min(missing)}")
    return sockets


@dataclass(frozen=True, slots=True)
class Counters:
    """What a gateway pod has counted for one route since it accepted it."""

    requests: int = 0
    fallbacks: int = 0
    """Requests that were ours and went to the original pods, because the laptop did not answer."""
    is_up: bool = False
    """Whether the gateway sends requests to the laptop now."""

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(self.requests + other.requests, self.fallbacks + other.fallbacks, self.is_up or other.is_up)


def parse_counters(line: bytes) -> dict[int, Counters]:
    """By port; nothing for a line that is about something else. Raises ValueError for what is no message."""
    message = _object(line)
    try:
        return {
            int(port): Counters(int(of["requests"]), int(of["fallbacks"]), bool(of["is_up"]))
            for port, of in message.get("counters", {}).items()
        }
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"its counters lack {exc}") from exc


def _object(line: bytes) -> dict[str, Any]:
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("it does not speak in JSON objects")  # noqa: TRY004 - of the value, not of the type
    return message
