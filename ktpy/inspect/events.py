"""What a session streams to who watches it: frozen values, as JSON objects whose `kind` names them."""

from typing import Any, ClassVar

from ktpy.frozen import dataclass
from ktpy.inspect.record import WatchedRequest, from_object, to_object
from ktpy.observe.codec import from_json, to_json


@dataclass(frozen=True, slots=True)
class WatchBegun:
    """The session shows its requests from now on."""

    kind: ClassVar[str] = "watching"
    intercept: str
    """exchange, mesh, tap or preview."""
    service: str
    namespace: str
    session: str | None
    """Its id in the cluster."""
    why: str
    """Which requests come here, for people."""
    open_connections: int
    """They were there before: what they carry is shown from where a request is sure to begin, HTTP/2 not at all."""


@dataclass(frozen=True, slots=True)
class RequestsMissed:
    """The viewer was too slow for so many requests."""

    kind: ClassVar[str] = "missed"
    count: int


@dataclass(frozen=True, slots=True)
class ConnectionUnread:
    """A connection is not understood; its bytes pass as before."""

    kind: ClassVar[str] = "unread"
    port: int
    """Of the Service."""
    reason: str


@dataclass(frozen=True, slots=True)
class ReplayRefused:
    """The request that should be sent again is not kept, or cannot be sent as it was."""

    kind: ClassVar[str] = "refused"
    reason: str


REQUEST = "request"
"""The kind of a WatchedRequest."""
_Plain = WatchBegun | RequestsMissed | ConnectionUnread | ReplayRefused
WatchEvent = _Plain | WatchedRequest
_PLAIN: dict[str, type[_Plain]] = {one.kind: one for one in _Plain.__args__}


def encode(event: WatchEvent, *, bodies: bool, secrets: bool) -> dict[str, Any]:
    """Return the event as a JSON object; `bodies` and `secrets` are as in `record.to_object`."""
    if isinstance(event, WatchedRequest):
        return {"kind": REQUEST, **to_object(event, bodies=bodies, secrets=secrets)}
    return {"kind": event.kind, **to_json(event)}


def decode(value: dict[str, Any]) -> WatchEvent:
    """Return the event of a JSON object: the inverse of `encode`. Raises KeyError for a kind that is not known."""
    return from_object(value) if value["kind"] == REQUEST else from_json(_PLAIN[value["kind"]], value)
