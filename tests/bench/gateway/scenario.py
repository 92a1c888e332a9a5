"""Where a fault happens: developers with intercepts of the service, and the load on it meanwhile."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException

from tests.bench.gateway.load import Load
from tests.bench.gateway.pods import Pod, Process, gateway_pods
from tests.bench.gateway.target import PORT, WEB, Target
from tests.bench.server import BODY
from tests.bench.target import NAMESPACE
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import USER
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import Intercept, intercepting, ktpys_objects
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import until_answered

logger = logging.getLogger(__name__)

EXCHANGED_PORT, MESHED_PORT = 3001, 3002
OTHER_USER = "root"
NOBODY = "nobody"  # whose requests a mesh is for
LOCAL, ORIGINAL = "local", BODY.decode().strip()  # who answers
BACK_TIMEOUT_S = 40.0
GONE_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 1.0


@dataclass
class Scenario:
    """`note` says what happens when; the log shows it beside what failed."""

    lab: Lab
    target: Target
    stack: ExitStack
    load: Load = field(default_factory=Load)
    notes: list[tuple[float, str]] = field(default_factory=list)

    def note(self, what: str) -> None:
        self.notes.append((time.monotonic(), what))

    def open_port(self) -> None:
        """The developer's program runs until the scenario ends, or `close_port`."""
        self._port = self.stack.enter_context(ExitStack())
        self._port.enter_context(serving(self.lab, EXCHANGED_PORT, LOCAL))

    def close_port(self) -> None:
        self._port.close()

    def begin_exchange(self, *options: str) -> None:
        self.exchange = self._intercept("exchange", "--expose", f"{EXCHANGED_PORT}:http", *options, user=USER)

    def begin_mesh(self) -> None:
        """Another developer's, of requests that no other client makes."""
        options = ("--expose", f"{MESHED_PORT}:http", "--version", NOBODY)
        self.mesh = self._intercept("mesh", *options, user=OTHER_USER)

    def _intercept(self, kind: str, *options: str, user: str) -> Intercept:
        self.note(f"{kind} typed")
        intercept = Intercept(self.lab, kind, WEB, "--namespace", NAMESPACE, *options, user=user)
        self.stack.callback(intercept.close)
        intercept.wait_ready()
        self.note(f"{kind} ready")
        return intercept

    def leave(self, intercept: Intercept) -> None:
        self.note("leave typed")
        intercept.leave()
        self.note(f"{intercept.kind} left")

    def until_reached(self, by: str) -> None:
        """Wait until new connections lead there, with nobody around."""
        host = self.target.cluster_ips[WEB]
        wait_until(lambda: answers(self.lab, host) == by, BACK_TIMEOUT_S, f"the service to lead to {by}")

    def until_answered(self, by: str) -> None:
        """Wait until nobody else answers."""
        took_s = until_answered(self.load, by, BACK_TIMEOUT_S)
        self.note(f"answered by {'the laptop' if by == LOCAL else 'the original pod'} (waited {took_s:.1f} s)")

    # --- the gateway

    def gateway(self) -> Pod:
        """One pod of it."""
        return gateway_pods(self.lab, WEB)[0]

    def kill(self, pod: Pod, *words: str) -> None:
        """SIGKILL to the process of a pod whose command has these words; LabError when no other comes in its place."""
        killed = self._process(pod, words, but=None)
        self.note(f"{' '.join(words)} killed")
        killed.kill()
        self._process(pod, words, but=killed)
        self.note("its successor runs")

    def _process(self, pod: Pod, words: tuple[str, ...], but: Process | None) -> Process:
        """The newest; soon."""
        found: list[Process] = []

        def is_found() -> bool:
            found.extend(process for process in pod.processes() if process != but and process.is_called(*words))
            return bool(found)

        wait_until(is_found, BACK_TIMEOUT_S, f"a process of the gateway: {' '.join(words)}")
        return found[-1]


def answers(lab: Lab, host: str, headers: Mapping[str, str] = {}) -> str | None:
    """Who answers one request from the node now; None when nobody does."""
    with suppress(OSError, HTTPException):
        return ask(lab.layout.node_netns_path, host, headers, port=PORT, timeout_s=ASK_TIMEOUT_S)[1].strip()
    return None


@contextmanager
def scenario(lab: Lab, target: Target) -> Iterator[Scenario]:
    """An empty one, with nothing of ktpy's before and after it."""
    clean_up(lab)
    try:
        with ExitStack() as stack:
            yield Scenario(lab, target, stack)
    finally:
        clean_up(lab)


def clean_up(lab: Lab) -> None:
    """Remove what intercepts have left, whatever became of them."""
    leave_all(lab)
    for user in (USER, OTHER_USER):
        lab.exec(["ktpy", "clean", "--namespace", NAMESPACE], user=user)
    wait_until(lambda: not ktpys_objects(lab, NAMESPACE), GONE_TIMEOUT_S, "everything of ktpy's in the cluster to go")


def leave_all(lab: Lab) -> None:
    """End every intercept that runs on the laptop."""
    for user in (USER, OTHER_USER):
        lab.exec(["ktpy", "leave", "--all"], user=user)


@contextmanager
def exchanging(lab: Lab) -> Iterator[Intercept]:
    """One that has just begun, of nothing else than WEB; it is left with the block, and all that is its own gone."""
    try:
        with exchange_of_all(lab) as exchange:
            yield exchange
    finally:
        clean_up(lab)


@contextmanager
def exchange_of_all(lab: Lab) -> Iterator[Intercept]:
    """The same; what others have at WEB stays."""
    options = ("--namespace", NAMESPACE, "--expose", f"{EXCHANGED_PORT}:http")
    exchange = Intercept(lab, "exchange", WEB, *options, user=USER)
    try:
        yield exchange
    finally:
        exchange.close()


@contextmanager
def keeping(lab: Lab) -> Iterator[None]:
    """A gateway before WEB that stays, until the end of the block."""
    try:
        lab.exec(["ktpy", "gateway", "keep", WEB, "--namespace", NAMESPACE], user=OTHER_USER, check=True)
        yield
    finally:
        lab.exec(["ktpy", "gateway", "release", WEB, "--namespace", NAMESPACE], user=OTHER_USER)
        clean_up(lab)


@contextmanager
def meshing(lab: Lab, service: str, host: str) -> Iterator[None]:
    """A gateway whose only route is for requests that nobody makes; all is gone after the block."""
    options = ("--expose", f"{MESHED_PORT}:http", "--version", NOBODY)
    marked = {"VERSION": NOBODY}
    with serving(lab, MESHED_PORT, LOCAL), intercepting(lab, "mesh", service, *options, namespace=NAMESPACE):
        wait_until(lambda: answers(lab, host, marked) == LOCAL, BACK_TIMEOUT_S, f"{service} to lead to its gateway")
        yield
    clean_up(lab)


def signal_all(intercept: Intercept, number: int) -> None:
    """To the command and its children."""
    os.killpg(intercept.process.pid, number)
