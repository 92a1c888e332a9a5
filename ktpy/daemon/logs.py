"""The logs of sessions in the background: lines of JSON, one for each event, and whatever else the process wrote.

A log lasts until the next session of its name, so it tells how the last one ended.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ktpy.daemon.runtime import CONNECT, RUN, RuntimeDirectory
from ktpy.frozen import dataclass

if TYPE_CHECKING:  # not before there is a log, or a session: `ktpy status` need not wait for it
    from ktpy.observe.events import Ended, Event
    from ktpy.observe.status import SessionStatus


@dataclass(frozen=True, slots=True)
class EndedSession:
    """An EndedSession stood in the background, and has ended unasked."""

    name: str
    at_s: float
    """When its log was written last, in seconds since 1970."""
    ended: "Ended | None"
    """None where it was killed."""


def event_of(line: str) -> "Event | None":
    """Return the event of a line of a log; None where it is none."""
    from ktpy.observe.events import decode

    try:
        return decode(line)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def failure_of(line: str) -> "Ended | None":
    """Return the error that a command tells before its session begins; None where the line is none."""
    from ktpy.observe.events import Ended

    try:
        told = json.loads(line)
        return Ended(told["exit_code"], told["error"], told["hint"], is_error=True)
    except (ValueError, TypeError, KeyError):
        return None


def ended_sessions(runtime: RuntimeDirectory, running: "Collection[SessionStatus]") -> list[EndedSession]:
    """Return those that have not ended as asked, and that nothing has replaced."""
    names = {log_name(status) for status in running}
    found = []
    for name, path in logs(runtime).items():
        from ktpy.observe.events import Ended, Ready

        events = [event for line in path.read_text(errors="replace").splitlines() if (event := event_of(line))]
        last = next((event for event in reversed(events) if isinstance(event, Ended)), None)
        is_as_asked = last is not None and not last.is_error
        if name not in names and not is_as_asked and any(isinstance(event, Ready) for event in events):
            found.append(EndedSession(name, path.stat().st_mtime, last))
    return found


def logs(runtime: RuntimeDirectory) -> dict[str, Path]:
    """Return the logs by the names of their sessions, the one written last at the end."""
    paths = sorted(runtime.path.glob("*.log"), key=lambda path: path.stat().st_mtime)
    return {path.stem: path for path in paths}


def log_name(status: "SessionStatus") -> str:
    """Return the name of the session's log, were it in the background."""
    from ktpy.observe.status import ConnectStatus

    if isinstance(status, ConnectStatus) and status.kind in (CONNECT, RUN):
        return connection_log_name(status.name) if status.kind == CONNECT else RUN
    return target_log_name(status.kind, status.reference)


def connection_log_name(name: str | None) -> str:
    """Return the name of the log of a `connect`, which may have a name."""
    return f"{CONNECT}-{name}" if name else CONNECT


def target_log_name(kind: str, reference: str | None) -> str:
    """Return the name of the log of a session for a target; None is all of them."""
    return f"{kind}-{(reference or 'all').replace('/', '-')}"
