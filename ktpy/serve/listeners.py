"""Whether a program listens on a local TCP port, as the kernel tells it, without a connection."""

import socket
from contextlib import closing
from ipaddress import ip_address
from typing import Final

from ktpy.sock_diag import listeners, open_sock_diag

_LOOPBACK_INDEX: Final = 1  # in every network namespace
_REACHED: Final = {
    socket.AF_INET: {ip_address(text).packed.ljust(16, b"\0") for text in ("0.0.0.0", "127.0.0.1")},  # noqa: S104
    socket.AF_INET6: {ip_address(text).packed for text in ("::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1")},
}
"""Listeners on these addresses are reached by a connection to 127.0.0.1 or ::1."""


def is_listened_on(port: int) -> bool:
    """Return whether a listener of this network namespace takes connections to `port` of a loopback address.

    It costs some 50 microseconds, however many sockets there are, because the kernel picks the listeners of the port.
    Raises OSError where the kernel does not tell.
    """
    with closing(open_sock_diag()) as kernel:
        found = [
            one.device in (0, _LOOPBACK_INDEX) and one.address in reached
            for family, reached in _REACHED.items()
            for one in listeners(kernel, family, port)
        ]
    return any(found)
