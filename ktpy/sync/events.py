"""What a synchronized folder tells."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How far it is."""

    state: str = "starting"
    """`starting`, `syncing`, `in step`, or `cut` while there is no channel."""
    entries: int = 0
    """Files, folders and links that are the same on both sides."""
    pending: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    conflicts: int = 0
    """Conflict copies that were made in this session."""
    problems: int = 0
    """Paths that cannot be synchronized at present; they are tried again."""
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class InStep:
    """Both sides are the same now, as far as they can be."""

    kind: ClassVar[str] = "in step"
    status: SyncStatus


@dataclass(frozen=True, slots=True)
class ConflictKept:
    """Both sides had changed `path`: the laptop's version has the name, the container's is kept as `copy`."""

    kind: ClassVar[str] = "conflict"
    path: str
    copy: str


@dataclass(frozen=True, slots=True)
class SyncProblem:
    """A path cannot be synchronized; both sides keep what they have."""

    kind: ClassVar[str] = "problem"
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class SyncNotice:
    """A SyncNotice is something the user should know that is not an error."""

    kind: ClassVar[str] = "notice"
    text: str


SyncEvent = InStep | ConflictKept | SyncProblem | SyncNotice
SyncReport = Callable[[SyncEvent], None]
