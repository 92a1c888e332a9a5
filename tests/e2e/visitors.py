"""Everybody else: clients in the cluster that use a service all the time, and notice when it does not answer."""

import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.namespaces import stream_socket

TIMEOUT_S = 10.0
KEPT_FOR = 20
"""Requests on a kept connection. One that was open before an exchange stays with the pod that it leads to."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. `answer` is the first word of the body, or what went wrong."""

    began_s: float
    took_s: float
    answer: str
    is_retried: bool = False
    """A kept connection was closed instead of an answer, so it was sent again on a new one (RFC 9112, 9.3.1)."""

    @property
    def is_answered(self) -> bool:
        return self.answer.isidentifier()


class _Connection(http.client.HTTPConnection):
    def __init__(self, netns: Path, host: str, port: int = 80, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(host, port)
        self._netns = netns
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = stream_socket(self._netns, (self.host, self.port), self._timeout_s)


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
    connection = _Connection(netns, host, port, timeout_s)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class _Client:
    """Keeps its connection for some requests, and does what every HTTP library does when that is closed under it."""

    def __init__(self, netns: Path, host: str, headers: Mapping[str, str], keep_for: int) -> None:
        self._place = (netns, host)
        self._headers = dict(headers)
        self._keep_for = keep_for
        self._connection: _Connection | None = None
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
            return Visit(began_s, time.monotonic() - began_s, answer, is_retried)

    def _request(self) -> str:
        if self._connection is None:
            self._connection, self._used = _Connection(*self._place), 0
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
class Visitors:
    """Threads that ask for `/` again and again, half of them on kept connections."""

    netns: Path
    host: str
    headers: Mapping[str, str] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def visit(self, interval_s: float, *, keep: bool) -> None:
        """One thread's work."""
        client = _Client(self.netns, self.host, self.headers, KEPT_FOR if keep else 1)
        while not self._stop.wait(interval_s):
            self.visits.append(client.visit())
        client.close()

    def stop(self) -> None:
        self._stop.set()

    def answers(self, since_s: float = 0.0, until_s: float = float("inf")) -> set[str]:
        """What the requests of a span of time were answered with."""
        return {visit.answer for visit in self.visits if since_s <= visit.began_s < until_s}

    def failures(self) -> list[Visit]:
        return [visit for visit in self.visits if not visit.is_answered]

    def story(self) -> str:
        """Who answered, from when to when, and how often: what an assertion should show."""
        spans: list[tuple[str, float, float, int]] = []
        begin_s = min((visit.began_s for visit in self.visits), default=0.0)
        for visit in sorted(self.visits, key=lambda visit: visit.began_s):
            at_s = visit.began_s - begin_s
            answer, since_s, _, count = spans[-1] if spans else ("", 0.0, 0.0, 0)
            if answer == visit.answer:
                spans[-1] = (answer, since_s, at_s, count + 1)
            else:
                spans.append((visit.answer, at_s, at_s, 1))
        return "\n".join(
            f"{since_s:7.3f} to {until_s:7.3f} s, {n:4}: {answer}" for answer, since_s, until_s, n in spans
        )

    def retried(self) -> int:
        return sum(visit.is_retried for visit in self.visits)

    def slowest_s(self) -> float:
        return max(visit.took_s for visit in self.visits)


@contextmanager
def visiting(
    netns: Path, host: str, headers: Mapping[str, str] = {}, *, rate: float = 100.0, threads: int = 4
) -> Iterator[Visitors]:
    """Clients at `rate` requests a second, at most, until the block ends."""
    visitors = Visitors(netns, host, headers)
    running = [
        threading.Thread(target=visitors.visit, args=(threads / rate,), kwargs={"keep": bool(number % 2)})
        for number in range(threads)
    ]
    for thread in running:
        thread.start()
    try:
        yield visitors
    finally:
        visitors.stop()
        for thread in running:
            thread.join()
