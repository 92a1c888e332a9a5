"""The events by which a session tells its user what it does. They are plain values, and cross a pipe or a socket."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

from ktpy.frozen import dataclass
from ktpy.observe.codec import from_json, to_json
from ktpy.observe.status import PortStatus, SessionStatus, decode_status


@dataclass(frozen=True, slots=True)
class StartStep:
    """A part of the start-up is done, or has reached `detail`; `elapsed_s` counts from the start of the command."""

    kind: ClassVar[str] = "step"
    name: str
    detail: str
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Notice:
    """A Notice is something the user should know that is not an error."""

    kind: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True, slots=True)
class PortsChanged:
    """The state of an intercept's ports has changed; `ports` is as in its status."""

    kind: ClassVar[str] = "routed"
    ports: tuple[PortStatus, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """The session stands. `status` is what `ktpy status --output json` shows for it."""

    kind: ClassVar[str] = "ready"
    status: SessionStatus


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link of a session that stands was lost; it reconnects by itself."""

    kind: ClassVar[str] = "lost"
    reason: str


@dataclass(frozen=True, slots=True)
class LinkBack:
    """The link stands again, after `after_s` seconds; it was lost `losses` times since the session stood."""

    kind: ClassVar[str] = "back"
    pod: str
    after_s: float
    losses: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over, for good or bad, and everything is undone."""

    kind: ClassVar[str] = "ended"
    exit_code: int
    message: str
    hint: str | None = None
    is_error: bool = False
    """Whether it ended because something failed; not with Ctrl-C, nor with the exit code of the user's command."""


Event = StartStep | Notice | PortsChanged | Ready | LinkDown | LinkBack | Ended
Report = Callable[[Event], None]

_EVENTS: dict[str, type[Event]] = {one.kind: one for one in Event.__args__}


def to_object(event: Event) -> dict[str, Any]:
    """Return the event as a JSON object."""
    return {"kind": event.kind, **to_json(event)}


def encode(event: Event) -> str:
    """Return the event as one line of JSON, without the newline."""
    return json.dumps(to_object(event))


def decode(line: str) -> Event:
    """Return the event of a line; the inverse of `encode`."""
    fields = json.loads(line)
    kind = fields.pop("kind")
    return Ready(decode_status(fields["status"])) if kind == Ready.kind else from_json(_EVENTS[kind], fields)
