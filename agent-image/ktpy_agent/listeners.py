"""The TCP ports of a gateway are listened on by its supervisor, and HAProxy inherits them.

A socket that listens lives as long as any process has it. So connections wait in it while HAProxy is started again. And
`ktpy-agent hold`, in a container of its own, has the same sockets: connections wait while the supervisor's container is
started again, which then takes them over.
"""

import os
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ktpy_agent.control import listen
from ktpy_agent.settings import Settings

_MOST = 253  # SCM_MAX_FD of Linux's net/scm.h
_WAITING = 4096
"""So many connections may wait, or as many as net.core.somaxconn says."""
_ANSWER_S = 1.0


class Listeners:
    def __init__(self, holder: Path, ports: Iterable[int], *, has_ipv6: bool) -> None:
        """Listen on the ports, by the sockets that are held where there are any. Raises OSError."""
        self._path = holder
        self._holder, held = _meet(holder)
        family = socket.AF_INET6 if has_ipv6 else socket.AF_INET
        self._sockets = {
            port: held.pop(port)
            if port in held
            else socket.create_server(("", port), family=family, backlog=_WAITING, dualstack_ipv6=has_ipv6)
            for port in ports
        }
        _close_all(held.values())
        self._give()

    @property
    def descriptors(self) -> dict[int, int]:
        """Return the sockets' descriptors by port."""
        return {port: each.fileno() for port, each in self._sockets.items()}

    def hand_over(self) -> None:
        """Let a holder that has come since have the sockets, too. To be called again and again; it costs little."""
        if self._holder is None or _has_ended(self._holder):
            self._holder, held = _meet(self._path)
            _close_all(held.values())
            self._give()

    def close(self) -> None:
        """Refuse connections from now on, for whoever else has the sockets, too."""
        for each in self._sockets.values():
            each.shutdown(socket.SHUT_RD)
        _close_all(self._sockets.values())

    def _give(self) -> None:
        if self._holder is not None:
            with suppress(OSError):  # it has gone again
                socket.send_fds(self._holder, [b"\n"], list(self.descriptors.values()))


def _meet(holder: Path) -> tuple[socket.socket | None, dict[int, socket.socket]]:
    """Return a connection to the holder, if there is one, and what it has that still listens, by port."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_ANSWER_S)
    try:
        connection.connect(str(holder))
        _, descriptors, _, _ = socket.recv_fds(connection, 1, _MOST)
    except OSError:
        connection.close()
        return None, {}
    connection.setblocking(False)  # with a timeout, MSG_DONTWAIT would wait for it
    held = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    ended = [each for each in held if not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
    _close_all(ended)
    return connection, {each.getsockname()[1]: each for each in held if each not in ended}


def _close_all(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def hold(settings: Settings) -> int:
    """Have what the gateway's supervisor listens on, one supervisor after another, until told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as pid 1 it has no default action
    held: list[int] = []
    with listen(settings.held) as listener:
        listener.setblocking(True)
        while True:
            with listener.accept()[0] as supervisor, suppress(OSError):
                socket.send_fds(supervisor, [b"\n"], held)
                _, given, _, _ = socket.recv_fds(supervisor, 1, _MOST)
                if given:
                    for descriptor in held:
                        os.close(descriptor)
                    held = given
                while supervisor.recv(1):
                    pass
