"""The developer's program on the laptop, whose service is intercepted: opened and closed as a test likes."""

import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.lab import Lab
from tests.lab.layout import REPOSITORY
from tests.lab.namespaces import inside_netns, stream_socket
from tests.lab.processes import wait_until

PROGRAM_TIMEOUT_S = 60.0


class LocalServer(ThreadingHTTPServer):
    """Answers every request with its name. HTTP/1.1, connections are kept."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, lab: Lab, port: int, text: str) -> None:
        self.text = text
        self.seen: Counter[str] = Counter()
        """Requests by their header VERSION; empty without one."""
        self.baggage: list[list[str]] = []
        """Of each request, its lines of the header baggage."""
        self._connections: set[socket.socket] = set()
        with inside_netns(lab.layout.laptop_netns_path):
            super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """As when the program is killed: kept connections go too."""
        super().server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Clients that go away are nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        assert isinstance(self.server, LocalServer)
        self.server.seen[self.headers.get("VERSION", "")] += 1
        self.server.baggage.append(self.headers.get_all("baggage", []))
        body = f"{self.server.text}\n".encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.wfile.write(head + body)

    def log_message(self, *_: object) -> None:
        """Not on the test's output."""


@contextmanager
def serving(lab: Lab, port: int, text: str = "local") -> Iterator[LocalServer]:
    """A server on 127.0.0.1 of the laptop; when the block ends, the port is closed at once."""
    with LocalServer(lab, port, text) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name=f"local {port}")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def listener(lab: Lab, port: int) -> socket.socket:
    """Listens on 127.0.0.1 of the laptop, for a server of the test's own."""
    with inside_netns(lab.layout.laptop_netns_path):
        return socket.create_server(("127.0.0.1", port), backlog=256)


@contextmanager
def running_program(lab: Lab, module: str, *arguments: str, port: int) -> Iterator[None]:
    """A module of the tests as a process of user dev on the laptop, from when its port answers."""
    program = lab.popen(
        [sys.executable, "-m", module, *arguments], user="dev", env={"PYTHONPATH": str(REPOSITORY)}, stdin=None
    )
    try:
        wait_until(lambda: _answers(lab, port) or program.poll() is not None, PROGRAM_TIMEOUT_S, f"port {port}")
        assert program.poll() is None, program.communicate()[0]
        yield
    finally:
        program.kill()
        program.communicate(timeout=PROGRAM_TIMEOUT_S)


def _answers(lab: Lab, port: int) -> bool:
    try:
        stream_socket(lab.layout.laptop_netns_path, ("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
