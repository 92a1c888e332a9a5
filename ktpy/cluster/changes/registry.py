"""The kinds of change by which requests come to the laptop, by the commands that make them."""

from ktpy.cluster.changes.change import InterceptKind
from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.preview import PREVIEW
from ktpy.errors import KtpyError

INTERCEPT_KINDS: tuple[InterceptKind, ...] = (GATEWAY, PREVIEW)
_BY_COMMAND = {"exchange": GATEWAY, "mesh": GATEWAY, "tap": GATEWAY, "preview": PREVIEW}


def kind_of(command: str) -> InterceptKind:
    """Return the kind of change that exchange, mesh, tap or preview makes. Raises KtpyError for any other command."""
    if command not in _BY_COMMAND:  # in the record of a newer version
        raise KtpyError(f"This version of ktpy does not know what {command} changes.")
    return _BY_COMMAND[command]
