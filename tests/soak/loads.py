"""Light steady use of everything that stands: requests, DNS questions, datagrams, saved files."""

import itertools
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException

from dnslib.dns import DNSError

from tests.e2e.kit.laptop import Laptop
from tests.lab import LabError
from tests.lab.namespaces import stream_socket
from tests.lab.sessions.http_clients import ask, visiting
from tests.lab.sessions.request_log import Visit, Visits
from tests.soak import scenario
from tests.soak.counting import Load, Loads
from tests.soak.scenario import Scenario
from tests.soak.tally import Tally

REQUESTS_PER_S = 3.0
NEW_SOCKET_EVERY = 20
"""Requests: kept connections and sockets of datagrams are as often new."""
TIMEOUT_S = 10.0
DATAGRAM_TIMEOUT_S, DATAGRAM_TRIES = 2.0, 3
FILES = 25
SAVED_WITHIN_S = 30.0
PROBLEMS = (
    *(OSError, HTTPException, EOFError, ValueError, struct.error, DNSError),
    *(LabError, AssertionError, subprocess.SubprocessError),
)
"""What a request, or a step, fails with: no answer, or one that is none."""


@dataclass
class Probe(Visits):
    """A thread that does one thing again and again; `once` returns who answered."""

    once: Callable[[], str]
    interval_s: float
    _stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        while not self._stop.wait(self.interval_s):
            began_s = time.monotonic()
            try:
                answer = self.once()
            except PROBLEMS as error:
                answer = repr(error)
            self.visits.append(Visit(began_s, time.monotonic() - began_s, answer))

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def probing(once: Callable[[], str], interval_s: float) -> Iterator[Probe]:
    probe = Probe(once, interval_s)
    thread = threading.Thread(target=probe.work)
    thread.start()
    try:
        yield probe
    finally:
        probe.stop()
        thread.join()


class Echo:
    """What comes back from the echo server, by a socket that is now and then a new one."""

    def __init__(self, connect: Callable[[], socket.socket], tries: int = 1) -> None:
        self._connect, self._tries = connect, tries
        self._socket: socket.socket | None = None
        self._numbers = itertools.count()

    def once(self) -> str:
        number = next(self._numbers)
        if number % NEW_SOCKET_EVERY == 0:
            self.close()
        try:
            self._socket = self._socket or self._connect()
            return self._ask(self._socket, b"%d" % number)
        except OSError:
            self.close()
            raise

    def _ask(self, connected: socket.socket, word: bytes) -> str:
        for _ in range(self._tries):
            connected.send(word)
            with suppress(TimeoutError):
                while (answer := connected.recv(100)) != word:  # an answer to a try before is late
                    if not answer:
                        raise ConnectionResetError("the echo server's end is closed")
                return "echo"
        return f"no answer to {self._tries} tries"

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class DnsClient:
    """Questions for names of Services, each answered with the Service's address."""

    def __init__(self, standing: Scenario) -> None:
        self._laptop, self._server = Laptop(standing.lab), scenario.name_server(standing.lab)
        self._names = itertools.cycle(standing.addresses.items())

    def once(self) -> str:
        name, address = next(self._names)
        found = self.addresses(f"{name}.{scenario.NAMESPACE}.svc.cluster.local")
        return "named" if found == [address] else f"{name} is {found}"

    def addresses(self, name: str) -> list[str]:
        reply = self._laptop.ask(name, "A", server=self._server)
        return [str(one.rdata) for one in reply.rr]


class Editor:
    """Saves a file as editors do, and waits until another pod is served it."""

    def __init__(self, standing: Scenario) -> None:
        self._lab, self._netns = standing.lab, standing.node
        self._host = standing.addresses[scenario.DEVELOPED]
        self._numbers = itertools.count()

    def once(self) -> str:
        number = next(self._numbers)
        name, text = f"file-{number % FILES}.txt", f"saved {number}"
        path = f"{scenario.SOURCES}/{name}"
        save = f"echo {text} > {path}.new && mv {path}.new {path}"
        self._lab.exec(["sh", "-c", save], user="dev", check=True)
        deadline = time.monotonic() + SAVED_WITHIN_S
        while (answer := ask(self._netns, self._host, path=f"/{name}")[1].strip()) != text:
            if time.monotonic() > deadline:
                return f"{name} is not in the container: {answer[:60]}"
            time.sleep(0.5)
        return "saved"


def datagrams(laptop: Laptop, address: tuple[str, int]) -> Callable[[], socket.socket]:
    """How to make a socket of the laptop's for that address."""

    def connect() -> socket.socket:
        made = laptop.open_socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(DATAGRAM_TIMEOUT_S)
        made.connect(address)
        return made

    return connect


@contextmanager
def loading(standing: Scenario) -> Iterator[Loads]:
    """All loads, until the block ends."""
    with ExitStack() as stack:
        loads: dict[str, Load] = {}

        def add(name: str, visits: Visits, expected: str, *, may_fail: bool) -> None:
            loads[name] = Load(visits, Tally(expected), may_fail)

        for name, netns, service, headers, expected in (
            ("exchange", standing.node, scenario.EXCHANGED, {}, "local"),
            ("mesh", standing.node, scenario.MESHED, scenario.VERSION, "meshed"),
            ("beside the mesh", standing.node, scenario.MESHED, {}, scenario.MESHED),
            ("connect", standing.laptop, scenario.PLAIN, {}, scenario.PLAIN),
            (scenario.BYSTANDER, standing.node, scenario.BYSTANDER, {}, scenario.BYSTANDER),
        ):
            clients = visiting(netns, standing.addresses[service], headers, rate=REQUESTS_PER_S, threads=2)
            add(name, stack.enter_context(clients), expected, may_fail=netns == standing.laptop)
        laptop = Laptop(standing.lab)
        forwarded, by_tun = ("127.0.0.1", scenario.FORWARDED_PORT), (standing.addresses[scenario.ECHO], 7)

        def forwarded_stream() -> socket.socket:
            return stream_socket(standing.laptop, forwarded, TIMEOUT_S)

        for name, connect, tries in (
            ("forward, TCP", forwarded_stream, 1),
            ("forward, UDP", datagrams(laptop, forwarded), DATAGRAM_TRIES),
            ("connect, UDP", datagrams(laptop, by_tun), DATAGRAM_TRIES),
        ):
            echo = stack.enter_context(closing(Echo(connect, tries)))
            add(name, stack.enter_context(probing(echo.once, 1.0)), "echo", may_fail=True)
        add("DNS", stack.enter_context(probing(DnsClient(standing).once, 0.5)), "named", may_fail=True)
        add("dev, saved files", stack.enter_context(probing(Editor(standing).once, 6.0)), "saved", may_fail=True)
        yield Loads(loads, scenario.BYSTANDER)
