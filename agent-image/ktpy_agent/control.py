"""The supervisor's end of the routes: each `ktpy-agent route` hands over the input and output of its SSH session."""

import os
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from ktpy.wire.pod import MAX_LINE_BYTES

_LAST_WORDS_S = 1.0
"""A laptop has this long to read why it was refused, and to hang up."""


class RouteConnection:
    """A RouteConnection is the SSH session of a laptop, whose first line is a hello and the others beats.

    `keeper` leads to the process that ends the SSH connection as soon as this end of it is closed.
    """

    def __init__(self, session: str, keeper: socket.socket, laptop_in: int, laptop_out: int) -> None:
        self.session = session
        """Whose key opened the SSH connection; sshd vouches for it."""
        self.keeper = keeper
        self.laptop_in = laptop_in
        self._laptop_out = laptop_out
        for descriptor in (laptop_in, laptop_out):
            os.set_blocking(descriptor, False)  # a laptop that does not read must not hold us
        self._hello: bytes | None = b""

    def read(self) -> bytes | None:
        """Read what has come, and return the hello if that completes it. Raises EOFError at the end of the input."""
        try:
            data = os.read(self.laptop_in, 65536)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise EOFError from exc
        if not data:
            raise EOFError
        if self._hello is None:
            return None
        self._hello += data
        if b"\n" not in self._hello and len(self._hello) <= MAX_LINE_BYTES:
            return None
        hello, self._hello = self._hello.partition(b"\n")[0][:MAX_LINE_BYTES], None
        return hello

    def send(self, line: bytes) -> bool:
        """Send one line; False when the other side is gone, or has not read for minutes."""
        try:
            return os.write(self._laptop_out, line) == len(line)
        except OSError:
            return False

    def close(self) -> None:
        """End the SSH connection."""
        self.keeper.close()
        os.close(self.laptop_in)
        os.close(self._laptop_out)


class ControlSocket:
    """A ControlSocket accepts routes and tells the gateway of each hello and each end, however the end came."""

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        silence_s: float,
        on_hello: Callable[[RouteConnection, bytes], None],
        on_end: Callable[[RouteConnection], None],
    ) -> None:
        self._selector = selector
        self._silence_s = silence_s
        self._on_hello = on_hello
        self._on_end = on_end
        self._deadlines_s: dict[RouteConnection, float] = {}
        self._dismissed: set[RouteConnection] = set()
        self._listener = listen(path)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def drop(self, connection: RouteConnection) -> None:
        """End a route from here, and its SSH connection with it. `on_end` is not called."""
        if self._deadlines_s.pop(connection, None) is not None:
            self._dismissed.discard(connection)
            self._selector.unregister(connection.keeper)
            self._selector.unregister(connection.laptop_in)
            connection.close()

    def dismiss(self, connection: RouteConnection) -> None:
        """Drop a route when its laptop has hung up, and soon if it does not."""
        self._dismissed.add(connection)
        self._deadlines_s[connection] = time.monotonic() + _LAST_WORDS_S

    def end_silent(self) -> None:
        """End the routes whose laptops have fallen silent; to be called when all that has come is read.

        That fails what was sent to them at once, so that HAProxy can send it to the original pods instead.
        """
        now_s = time.monotonic()
        for connection in [each for each, deadline_s in self._deadlines_s.items() if deadline_s < now_s]:
            self._end(connection)

    def close(self) -> None:
        for connection in list(self._deadlines_s):
            self.drop(connection)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        """Accept all that have come, so that one reload of HAProxy's serves them all."""
        with suppress(OSError):  # there are no more, one has gone, or we have no descriptors left
            while True:
                keeper, _ = self._listener.accept()
                self._selector.register(keeper, selectors.EVENT_READ, partial(self._introduce, keeper))

    def _introduce(self, keeper: socket.socket) -> None:
        """Take a session's id and its input and output, which come in one message."""
        self._selector.unregister(keeper)
        session, descriptors, _, _ = socket.recv_fds(keeper, 4096, 2)
        if len(descriptors) < 2:  # the process died before it could say anything, or we have no descriptors left
            keeper.close()
            for descriptor in descriptors:
                os.close(descriptor)
            return
        connection = RouteConnection(session.decode(), keeper, *descriptors)
        self._deadlines_s[connection] = time.monotonic() + self._silence_s
        self._selector.register(keeper, selectors.EVENT_READ, lambda: self._end(connection))
        self._selector.register(connection.laptop_in, selectors.EVENT_READ, lambda: self._read(connection))

    def _read(self, connection: RouteConnection) -> None:
        if connection not in self._deadlines_s:
            return  # dropped by an earlier event of the same round
        try:
            hello = connection.read()
        except EOFError:
            self._end(connection)
            return
        if connection in self._dismissed:
            return
        self._deadlines_s[connection] = time.monotonic() + self._silence_s
        if hello is not None:
            self._on_hello(connection, hello)

    def _end(self, connection: RouteConnection) -> None:
        if connection in self._deadlines_s:
            self.drop(connection)
            self._on_end(connection)


def listen(path: Path) -> socket.socket:
    """Make a listening unix socket at `path`, whatever an earlier container of the pod left there."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(128)
    listener.setblocking(False)
    return listener
