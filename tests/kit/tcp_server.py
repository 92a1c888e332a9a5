"""A TCP server of a few lines, for tests: one function serves each connection, in a thread of its own."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Serve = Callable[[socket.socket], None]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, serve: Serve) -> None:
        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                serve(self.request)

        super().__init__(listener.getsockname(), Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def handle_error(self, *_: object) -> None:
        """Clients of tests break off, and probes of a port say nothing and go."""


@contextmanager
def tcp_server(serve: Serve, listener: socket.socket | None = None) -> Iterator[int]:
    """The port it listens on: a free one of loopback, or that of `listener`, from another network namespace perhaps."""
    with _Server(listener or socket.create_server(("127.0.0.1", 0)), serve) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield int(server.socket.getsockname()[1])
        finally:
            server.shutdown()
            thread.join()
