"""The supervisor's end of the routes is one connection on a unix socket per `ktpy-agent route` process."""

import json
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from ktpy.wire.pod import MAX_LINE_BYTES


class RouteConnection:
    """A RouteConnection is a live route process. It says its session id, for which sshd vouches, then a hello."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.session: str | None = None
        self._unread = b""

    def lines(self) -> list[bytes] | None:
        """Return the complete lines that have come; None at the end, also when a line is too long."""
        try:
            data = self.socket.recv(MAX_LINE_BYTES)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        *lines, self._unread = (self._unread + data).split(b"\n")
        return None if not data or len(self._unread) > MAX_LINE_BYTES else lines

    def send(self, line: bytes) -> bool:
        """Send one line; False when the other side is gone, or has not read for minutes."""
        try:
            return self.socket.send(line) == len(line)
        except OSError:
            return False


class ControlSocket:
    """A ControlSocket accepts routes and tells the gateway of each hello and each end, however the end came."""

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        on_hello: Callable[[RouteConnection, str, bytes], None],
        on_end: Callable[[RouteConnection], None],
    ) -> None:
        self._selector = selector
        self._on_hello = on_hello
        self._on_end = on_end
        self._connections: set[RouteConnection] = set()
        self._listener = listen(path, selector, self._accept)

    def drop(self, connection: RouteConnection) -> None:
        """End a route from here; its process then ends the SSH connection. `on_end` is not called."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def close(self) -> None:
        for connection in list(self._connections):
            self.drop(connection)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        accepted.setblocking(False)
        connection = RouteConnection(accepted)
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, lambda: self._read(connection))

    def _read(self, connection: RouteConnection) -> None:
        if connection not in self._connections:
            return  # dropped by an earlier event of the same round
        lines = connection.lines()
        if lines is None:
            self.drop(connection)
            self._on_end(connection)
            return
        for line in lines:
            if connection.session is None:
                connection.session = str(json.loads(line)["session"])
            else:
                self._on_hello(connection, connection.session, line)


def listen(path: Path, selector: selectors.BaseSelector, on_readable: Callable[[], None]) -> socket.socket:
    """Make a listening unix socket at `path`, whatever an earlier container of the pod left there."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(128)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ, on_readable)
    return listener
