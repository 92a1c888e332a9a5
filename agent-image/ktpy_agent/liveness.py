"""Sockets of the agent tell HAProxy which laptops can serve, without ever touching one.

A laptop keeps sshd's unix socket of its route in place only while its local port answers. HAProxy could check that
socket by connecting to it, but sshd would pass each check on to the laptop's program, which may take only one
connection, or log each. So for each of sshd's sockets that listens, one of ours stands beside it to be checked.
"""

import os
import selectors
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ktpy_agent.control import listen
from ktpy_agent.routes import Route

_LISTENS = 0x10000  # __SO_ACCEPTCON of linux/net.h
_UNCONNECTED = "01"  # SS_UNCONNECTED; what a listener has accepted bears its path, too


def bound_sockets(proc_net_unix: str, directory: str) -> dict[str, bool]:
    """Return the directory's unix sockets that listen (True) or are about to, from /proc/net/unix (proc(5)).

    A file alone says nothing: sshd closes a listener that the laptop takes back, and leaves its file.
    """
    inside = f" {directory}/"
    rows = (line.split(maxsplit=7) for line in proc_net_unix.split("\n") if inside in line)
    return {
        row[7].removeprefix(inside.lstrip()): bool(int(row[3], 16) & _LISTENS) for row in rows if row[5] == _UNCONNECTED
    }


class AliveSockets:
    def __init__(self, routes_dir: Path) -> None:
        self._dir = routes_dir
        self._listeners: dict[str, socket.socket] = {}
        self._checks = selectors.DefaultSelector()
        for left in routes_dir.iterdir():  # by an earlier container of the pod
            left.unlink()

    def refresh(self, routes: Iterable[Route]) -> bool:
        """Bring our sockets in step with sshd's, and return whether any came or went.

        It is cheap enough to be called ten times a second.
        """
        files = set(os.listdir(self._dir))  # noqa: PTH208 - a Path of each would take as long as all the rest
        stems = {name: route.stem for route in routes if (name := f"{route.stem}.sock") in files}
        unix = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace") if stems else ""
        bound = bound_sockets(unix, str(self._dir))
        for name in stems.keys() - bound.keys():
            (self._dir / name).unlink()  # or sshd would make no other there; until now it cannot have
        present = {stem for name, stem in stems.items() if bound.get(name)}
        came, went = present - self._listeners.keys(), self._listeners.keys() - present
        for stem in came:
            self._listeners[stem] = listen(self._dir / f"{stem}.alive")
            self._checks.register(self._listeners[stem], selectors.EVENT_READ, self._listeners[stem])
        for stem in went:
            self._close(stem)
        for key, _ in self._checks.select(0):
            _accept_checks(key.data)
        return bool(came or went)

    def has(self, route: Route) -> bool:
        """Return whether the laptop could serve when last looked at."""
        return route.stem in self._listeners

    def remove(self, routes: Iterable[Route]) -> None:
        """Take the sockets of routes that ended away, sshd's as well, since a killed sshd leaves them."""
        for route in routes:
            if route.stem in self._listeners:
                self._close(route.stem)
            (self._dir / f"{route.stem}.sock").unlink(missing_ok=True)

    def _close(self, stem: str) -> None:
        listener = self._listeners.pop(stem)
        self._checks.unregister(listener)
        listener.close()
        (self._dir / f"{stem}.alive").unlink(missing_ok=True)


def _accept_checks(listener: socket.socket) -> None:
    """Accept the checks of HAProxy's that have come. It wants no more, and does not wait for it."""
    with suppress(BlockingIOError):
        while True:
            with suppress(ConnectionAbortedError):
                listener.accept()[0].close()
