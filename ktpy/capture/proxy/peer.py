"""Which user has the other end of a connection on this machine, as the kernel tells it (sock_diag(7)).

A loopback port is open to every user of the machine. Where the kernel tells whose socket is at the other end, that
keeps the others off; elsewhere a password has to.
"""

import os
import secrets
import socket
import struct
from contextlib import closing
from ipaddress import ip_address
from typing import Final

USER: Final = "ktpy"

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST: Final = 1  # NLM_F_REQUEST: the one socket, no list
_ANY_COOKIE: Final = b"\xff" * 8
_ALL_STATES: Final = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_INET_DIAG_REQUEST = struct.Struct("=BBxxI2s2s16s16sI8s")
_INET_DIAG_MESSAGE = struct.Struct("=20x2s58xII")  # the socket's own port; and user and inode, the last fields
_Name = tuple[str, int]


def owner_of(end: _Name, other_end: _Name, protocol: int = socket.IPPROTO_TCP) -> int | None:
    """Return the user id of the process whose socket `end` is; None where it is closed already.

    Raises OSError or AttributeError where the kernel does not tell.
    """
    found = _ask(end, other_end, protocol)
    if protocol == socket.IPPROTO_UDP and (found is None or found[0] != end[1]):
        found = _ask(other_end, end, protocol)  # older kernels take the ends of UDP the other way round
    if found is None or found[0] != end[1]:
        return None
    _, uid, inode = found
    return uid if inode else None  # a socket that no process has any more is shown as root's


def _ask(end: _Name, other_end: _Name, protocol: int) -> tuple[int, int, int] | None:
    """Return the port, the user and the inode of the socket that the kernel finds; None where there is none."""
    (source, source_port), (destination, destination_port) = end[:2], other_end[:2]
    address = ip_address(source)
    request = _INET_DIAG_REQUEST.pack(
        socket.AF_INET if address.version == 4 else socket.AF_INET6,
        protocol,
        _ALL_STATES,
        source_port.to_bytes(2, "big"),
        destination_port.to_bytes(2, "big"),
        address.packed,
        ip_address(destination).packed,
        0,
        _ANY_COOKIE,
    )
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)) as kernel:
        kernel.settimeout(1.0)
        kernel.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0) + request)
        answer = kernel.recv(1 << 16)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    port, uid, inode = _INET_DIAG_MESSAGE.unpack_from(answer)
    return int.from_bytes(port, "big"), uid, inode


def login_where_needed() -> tuple[str, str] | None:
    """Return None where the kernel tells who connects; else the user and the password that a client has to know."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as probe:
        try:
            if owner_of(probe.getsockname(), probe.getpeername()) == os.getuid():
                return None
        except (AttributeError, OSError):
            pass
    return USER, secrets.token_urlsafe(24)
