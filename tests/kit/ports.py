"""Ports for servers that are told their port by number."""

import random
import socket
from contextlib import suppress

BELOW_THE_EPHEMERAL = range(15_000, 32_000)
"""net.ipv4.ip_local_port_range begins at 32,768: what the kernel gives out by itself never comes from here."""


def free_port() -> int:
    """A port nobody listens on; no other socket of a test gets it by chance before its server is there."""
    while True:
        port = random.choice(BELOW_THE_EPHEMERAL)
        with suppress(OSError), socket.socket() as v4, socket.socket(socket.AF_INET6) as v6:
            v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            v4.bind(("127.0.0.1", port))
            v6.bind(("::1", port))
            return port
