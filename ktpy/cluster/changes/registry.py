"""All kinds of change that ktpy makes in a cluster, by their names and by the commands that make them."""

from ktpy.cluster.changes.change import InterceptKind, Kind
from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.preview import PREVIEW
from ktpy.cluster.changes.shadow import SHADOW
from ktpy.errors import KtpyError

KINDS: tuple[Kind, ...] = (SHADOW, GATEWAY, PREVIEW)
INTERCEPT_KINDS: tuple[InterceptKind, ...] = (GATEWAY, PREVIEW)
_BY_COMMAND = {"exchange": GATEWAY, "mesh": GATEWAY, "preview": PREVIEW}


def kind_of(command: str) -> InterceptKind:
    """Return the kind of change that a command makes: exchange, mesh or preview. Raises KtpyError for any other."""
    if command not in _BY_COMMAND:  # in the record of a newer version
        raise KtpyError(f"This version of ktpy does not know what {command} changes.")
    return _BY_COMMAND[command]
