"""This module binds port 53 for the unprivileged DNS server, which listens and reads."""

import contextlib
import socket

from ktpy.errors import HelperFailed
from ktpy.helper.wire import Address

DNS_PORT = 53


def bind(address: Address) -> tuple[socket.socket, socket.socket]:
    """Bind a UDP and a TCP socket, non-blocking. Raises HelperFailed, with neither of the two bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.ExitStack() as opened:
        sockets = []
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = opened.enter_context(socket.socket(family, kind | socket.SOCK_NONBLOCK))
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
            try:
                sock.bind((str(address), DNS_PORT))
            except OSError as exc:
                raise HelperFailed(
                    f"Port {DNS_PORT} on {address} cannot be bound: {exc.strerror}.",
                    hint=f"See who holds it: sudo ss -lnup 'sport = :{DNS_PORT}'",
                ) from exc
            sockets.append(sock)
        opened.pop_all()
    udp, tcp = sockets
    return udp, tcp
