"""Everybody else: clients in the cluster that use a service all the time, and notice when it does not answer."""

import http.client
import itertools
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.namespaces import stream_socket
from tests.lab.sessions.request_log import Visit, Visits

TIMEOUT_S = 10.0
KEPT_FOR = 20
"""Requests on a kept connection. One that was open before an exchange stays with the pod that it leads to."""


_OWN_PORTS = range(20_000, 30_000)
"""Of who asks once, maybe before kube-proxy knows a service: for two minutes conntrack leads that port astray."""
_own_ports = itertools.cycle(random.sample(_OWN_PORTS, len(_OWN_PORTS)))


class Connection(http.client.HTTPConnection):
    """A connection from where a network namespace is."""

    def __init__(
        self, netns: Path, host: str, port: int = 80, timeout_s: float = TIMEOUT_S, source_port: int = 0
    ) -> None:
        super().__init__(host, port)
        self._netns = netns
        self._timeout_s = timeout_s
        self._source_port = source_port

    def connect(self) -> None:
        self.sock = stream_socket(self._netns, (self.host, self.port), self._timeout_s, self._source_port)


def ask(
    netns: Path,
    host: str,
    headers: Mapping[str, str] = {},
    *,
    path: str = "/",
    port: int = 80,
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, str]:
    """One request on a fresh connection: status and body."""
    connection = Connection(netns, host, port, timeout_s, next(_own_ports))
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class _Client:
    """Keeps its connection for some requests, and does what every HTTP library does when that is closed under it."""

    def __init__(self, netns: Path, host: str, headers: Mapping[str, str], keep_for: int, number: int) -> None:
        self._place = (netns, host)
        self._headers = dict(headers)
        self._keep_for = keep_for
        self._number = number
        self._connection: Connection | None = None
        self._used = 0

    def visit(self) -> Visit:
        began_s, is_retried = time.monotonic(), False
        while True:
            is_kept = self._connection is not None
            try:
                answer = self._request()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if is_kept and isinstance(
                    error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError
                ):
                    is_retried = True
                    continue
                answer = repr(error)
            return Visit(began_s, time.monotonic() - began_s, answer, is_retried, self._number)

    def _request(self) -> str:
        if self._connection is None:
            self._connection, self._used = Connection(*self._place), 0
        self._used += 1
        self._connection.request("GET", "/", headers=self._headers)
        response = self._connection.getresponse()
        body = response.read().decode(errors="replace")
        if response.will_close or self._used == self._keep_for:
            self.close()
        return body.split(maxsplit=1)[0] if response.status == 200 else f"HTTP {response.status}: {body}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass
class Visitors(Visits):
    """Threads that ask for `/` again and again, half of them on kept connections."""

    netns: Path
    host: str
    headers: Mapping[str, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def visit(self, interval_s: float, number: int) -> None:
        """One thread's work. Every other one keeps its connection."""
        client = _Client(self.netns, self.host, self.headers, KEPT_FOR if number % 2 else 1, number)
        while not self._stop.wait(interval_s):
            self.visits.append(client.visit())
        client.close()

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def visiting(
    netns: Path, host: str, headers: Mapping[str, str] = {}, *, rate: float = 100.0, threads: int = 4
) -> Iterator[Visitors]:
    """Clients at `rate` requests a second, at most, until the block ends."""
    visitors = Visitors(netns, host, headers)
    running = [threading.Thread(target=visitors.visit, args=(threads / rate, number)) for number in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield visitors
    finally:
        visitors.stop()
        for thread in running:
            thread.join()
