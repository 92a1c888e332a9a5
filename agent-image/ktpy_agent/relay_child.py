"""A process that moves what HAProxy does not (`ktpy-agent udp`, `ktpy-agent tap`), as the gateway's supervisor sees it.

Each message is JSON, over a socket that is the child's standard input.
"""

import json
import os
import selectors
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ktpy_agent.children import spawn
from ktpy_agent.counters import Count

MAX_MESSAGE_BYTES = 1 << 17
"""A thousand routes take some 100 KB; a SOCK_SEQPACKET carries 200 KB at once (wmem_default)."""


class RelayReport(NamedTuple):
    """A RelayReport is what was relayed since the last one, by the names of routes, and which of those are up."""

    counts: Mapping[str, Count]
    up: frozenset[str]

    def encoded(self) -> bytes:
        return json.dumps({"counts": self.counts, "up": sorted(self.up)}).encode()

    @classmethod
    def parse(cls, message: bytes) -> "RelayReport":
        fields = json.loads(message)
        return cls({name: Count(*count) for name, count in fields["counts"].items()}, frozenset(fields["up"]))


class RelayChild:
    """A RelayChild is one process after another: whoever reaps it starts the next one."""

    def __init__(self, verb: str, selector: selectors.BaseSelector, on_report: Callable[[RelayReport], None]) -> None:
        self._verb = verb
        self._selector = selector
        self._on_report = on_report
        self._socket: socket.socket | None = None
        self._told = b""

    def start(self) -> int:
        """Start a process, which knows of no route until it is told; return its pid."""
        self.hang_up()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            agent = str(Path(sys.argv[0]).resolve())
            pid = spawn([sys.executable, "-IS", agent, self._verb], stdin=theirs.fileno())
        ours.setblocking(False)
        self._socket, self._told = ours, b""
        self._selector.register(ours, selectors.EVENT_READ, self._hear)
        return pid

    def tell(self, message: bytes) -> None:
        """Tell the process, if there is one and this is news to it. Raises OSError when it cannot be told now."""
        if self._socket is not None and message != self._told:
            self._socket.send(message)
            self._told = message

    def hang_up(self) -> None:
        """Let the process end, if there is one."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _hear(self) -> None:
        assert self._socket is not None  # noqa: S101 - it is what the selector has
        try:
            message = self._socket.recv(MAX_MESSAGE_BYTES)
        except OSError:
            message = b""
        if message:
            self._on_report(RelayReport.parse(message))
        else:
            self.hang_up()


def heard(control: socket.socket) -> bytes:
    """Return what the supervisor says to the child; nothing when it is gone."""
    try:
        return control.recv(MAX_MESSAGE_BYTES)
    except ConnectionResetError:  # it has left reports unread
        return b""


def supervisor() -> socket.socket:
    """Return the child's end of the socket."""
    end = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    end.setblocking(False)
    return end
