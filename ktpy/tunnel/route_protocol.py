"""What laptop and gateway say to each other about a route: one JSON object a line. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ktpy.errors import RouteTaken

VERSION: Final = 1
BEAT: Final = b"{}\n"
ORIGIN: Final = "origin"
FAIL: Final = "fail"


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

    Raises RouteTaken when somebody else has the port or the match, ValueError for what is no answer to our hello.
    """
    message = _object(line)
    if "refused" in message:
        raise RouteTaken(
            f"{str(message['refused']).rstrip('.')}.",
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
