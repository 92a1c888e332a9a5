"""Whether a program listens on a local port, as the kernel tells it, without a connection or a datagram."""

import socket
from contextlib import closing
from ipaddress import ip_address
from typing import Final

from ktpy.sock_diag import find, listeners, open_sock_diag

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


def udp_address(port: int) -> str | None:
    """Return the loopback address at which a UDP socket of this network namespace takes datagrams to `port`, or None.

    The kernel looks for the socket as it does for a datagram. Raises OSError where it does not tell.
    """
    with closing(open_sock_diag()) as kernel:
        for text, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            server, client = ((ip_address(text).packed, number) for number in (port, 0))
            for ends in ((client, server), (server, client)):  # kernels differ in which end is whose
                found = find(kernel, family, socket.IPPROTO_UDP, *ends)
                if found is not None and found.port == port:
                    return text
    return None
