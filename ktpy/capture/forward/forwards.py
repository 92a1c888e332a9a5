"""What is forwarded: a port of a Service or of pods, and the laptop's port that leads there."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from ktpy.capture.spec import LOOPBACK
from ktpy.frozen import dataclass

if TYPE_CHECKING:
    from ktpy.dns.lookup import ClusterLookup

UNPRIVILEGED = 1024
PRIVILEGED_FROM = 8000
"""What is added to a port that only root may bind: 80 becomes 8080."""

Find = Callable[["ClusterLookup"], Awaitable[Sequence[str]]]
"""Returns the addresses that a new connection may be made to, of which the first that answers serves.

Raises KtpyError, or NoAnswerError of the cluster's DNS, where nobody can say.
"""


@dataclass(frozen=True, slots=True)
class Forward:
    """A Forward leads what comes to `own` to `port` of what `find` finds."""

    target: str
    """As the user may name it."""
    port: int
    protocol: str
    """TCP or UDP."""
    own: socket.socket
    find: Find
    name: str = ""
    """Of the port, where it has one."""

    @property
    def local_port(self) -> int:
        return int(self.own.getsockname()[1])


def bind(local: int, protocol: str) -> socket.socket:
    """Return the laptop's end of a forward on the loopback. Raises OSError."""
    is_tcp = protocol == "TCP"
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    try:
        if is_tcp:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((LOOPBACK, local))
        if is_tcp:
            own.listen()
    except OSError:
        own.close()
        raise
    return own


def bind_like(port: int, protocol: str) -> socket.socket:
    """Bind the port of the same number, or what stands for it below 1024; where that is taken, any that is free."""
    for local in (port, *((port + PRIVILEGED_FROM,) if port < UNPRIVILEGED else ())):
        try:
            return bind(local, protocol)
        except OSError:
            continue
    return bind(0, protocol)
