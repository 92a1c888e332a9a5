"""What a check has found."""

from enum import Enum

from ktpy.errors import KtpyError
from ktpy.frozen import dataclass


class State(Enum):
    """A State is how bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_MADE = "not made"
    """It could not be looked at; `seen` says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A Finding is what there is to say of one subject."""

    subject: str
    state: State
    seen: str
    mend: str | None = None
    """What to do about it: a line to type, where there is one."""

    def data(self) -> dict[str, str | None]:
        """Return what `--output json` prints of it."""
        return {"subject": self.subject, "state": self.state.value, "seen": self.seen, "mend": self.mend}


def failed(subject: str, error: KtpyError, state: State = State.FAILED) -> Finding:
    """Return the finding that an error is."""
    return Finding(subject, state, error.message, error.hint)
