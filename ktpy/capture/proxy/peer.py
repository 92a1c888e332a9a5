"""Which user has the other end of a connection on this machine, as the kernel tells it.

A loopback port is open to every user of the machine. Where the kernel tells whose socket is at the other end, that
keeps the others off; elsewhere a password has to.
"""

import os
import secrets
import socket
from contextlib import closing
from ipaddress import ip_address
from typing import Final

from ktpy.sock_diag import find, open_sock_diag

USER: Final = "ktpy"

_Name = tuple[str, int]


def owner_of(end: _Name, other_end: _Name, protocol: int = socket.IPPROTO_TCP) -> int | None:
    """Return the user id of the process whose socket `end` is; None where it is closed already.

    Raises OSError where the kernel does not tell.
    """
    family = socket.AF_INET6 if ":" in end[0] else socket.AF_INET
    ends = [(ip_address(address).packed, port) for address, port in (end[:2], other_end[:2])]
    with closing(open_sock_diag()) as kernel:
        found = find(kernel, family, protocol, *ends)
        if protocol == socket.IPPROTO_UDP and (found is None or found.port != end[1]):
            found = find(kernel, family, protocol, *reversed(ends))  # older kernels take the ends the other way round
    if found is None or found.port != end[1] or not found.inode:
        return None
    return found.uid


def login_where_needed() -> tuple[str, str] | None:
    """Return None where the kernel tells who connects; else the user and the password that a client has to know."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as probe:
        try:
            if owner_of(probe.getsockname(), probe.getpeername()) == os.getuid():
                return None
        except (AttributeError, OSError):  # without sock_diag, or without users
            pass
    return USER, secrets.token_urlsafe(24)
