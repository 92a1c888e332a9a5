"""Ports for servers that are told their port by number."""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

BELOW_THE_EPHEMERAL = range(15_000, 32_000)
"""net.ipv4.ip_local_port_range begins at 32,768: what the kernel gives out by itself never comes from here."""


def free_port() -> int:
    """A port nobody listens on; no other socket of a test gets it by chance before its server is there."""
    for port in _ports_of(os.getpid()):
        with suppress(OSError), socket.socket() as v4, socket.socket(socket.AF_INET6) as v6:
            v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            v4.bind(("127.0.0.1", port))
            v6.bind(("::1", port))
            return port
    raise AssertionError("no port is free")


@cache
def _ports_of(pid: int) -> Iterator[int]:
    """Each port once, in an order of this process's own. No two of pytest-xdist's processes have one in common."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = BELOW_THE_EPHEMERAL[number :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    return itertools.cycle(random.SystemRandom().sample(ports, len(ports)))
