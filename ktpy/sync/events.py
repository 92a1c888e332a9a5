"""What a synchronized folder tells."""

from collections.abc import Callable
from dataclasses import dataclass

from ktpy.observe.status import SyncProblem


@dataclass(frozen=True, slots=True)
class ConflictKept:
    """Both sides had changed `path`: the laptop's version has the name, the container's is kept as `copy`."""

    path: str
    copy: str


@dataclass(frozen=True, slots=True)
class SyncNotice:
    """A SyncNotice is something the user should know that is not an error."""

    text: str


SyncEvent = ConflictKept | SyncProblem | SyncNotice
SyncReport = Callable[[SyncEvent], None]
