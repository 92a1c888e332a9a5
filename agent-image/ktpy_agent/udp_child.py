"""The process that relays UDP (`ktpy-agent udp`), as the gateway's supervisor sees it, and what the two say.

Each message is JSON, over a socket that is the child's standard input.
"""

import json
import os
import selectors
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ktpy.wire.route import UDP
from ktpy_agent.children import spawn
from ktpy_agent.counters import Count
from ktpy_agent.routes import Route

MAX_MESSAGE_BYTES = 1 << 16


class UdpRoute(NamedTuple):
    """A UdpRoute is who has the datagrams of a port."""

    name: str
    socket: str | None
    """Leads to the laptop; None while its local port does not answer."""
    fails_when_down: bool


class UdpReport(NamedTuple):
    """A UdpReport is what was relayed since the last one, by the names of routes, and which of those are up."""

    counts: Mapping[str, Count]
    up: frozenset[str]

    def encoded(self) -> bytes:
        return json.dumps({"counts": self.counts, "up": sorted(self.up)}).encode()

    @classmethod
    def parse(cls, message: bytes) -> "UdpReport":
        fields = json.loads(message)
        return cls({name: Count(*count) for name, count in fields["counts"].items()}, frozenset(fields["up"]))


def encode_routes(routes: Mapping[int, UdpRoute]) -> bytes:
    """Render who has which port."""
    return json.dumps(routes).encode()


def parse_routes(message: bytes) -> dict[int, UdpRoute]:
    """Read what `encode_routes` rendered."""
    return {int(port): UdpRoute(*route) for port, route in json.loads(message).items()}


class UdpChild:
    """A UdpChild is one process after another: whoever reaps it starts the next one."""

    def __init__(self, selector: selectors.BaseSelector, on_report: Callable[[UdpReport], None]) -> None:
        self._selector = selector
        self._on_report = on_report
        self._socket: socket.socket | None = None
        self._told = b""

    def start(self) -> int:
        """Start a process, which relays to the original pods until `lead` says more; return its pid."""
        self._hang_up()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            pid = spawn([sys.executable, "-IS", str(Path(sys.argv[0]).resolve()), "udp"], stdin=theirs.fileno())
        ours.setblocking(False)
        self._socket, self._told = ours, b""
        self._selector.register(ours, selectors.EVENT_READ, self._hear)
        return pid

    def lead(self, routes: Iterable[Route], socket_of: Callable[[Route], Path | None]) -> None:
        """Tell it who has which port, if that is news. Raises OSError when it cannot be told now."""
        message = encode_routes(
            {
                route.port.port: UdpRoute(route.name, str(path) if path else None, route.fails_when_down)
                for route in routes
                if route.port.protocol == UDP
                for path in [socket_of(route)]
            }
        )
        if self._socket is not None and message != self._told:
            self._socket.send(message)
            self._told = message

    def _hear(self) -> None:
        assert self._socket is not None  # noqa: S101 - it is what the selector has
        try:
            message = self._socket.recv(MAX_MESSAGE_BYTES)
        except OSError:
            message = b""
        if message:
            self._on_report(UdpReport.parse(message))
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


def supervisor() -> socket.socket:
    """Return the child's end of the socket."""
    end = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    end.setblocking(False)
    return end
