"""What is measured of a gateway that nothing happens to."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.gateway import cases
from tests.bench.gateway.cases import ADDED, KINDS, PERCENTS, RATE
from tests.bench.gateway.image import unpacked_mb
from tests.bench.gateway.pods import Pod, gateway_pods, started_s
from tests.bench.gateway.scenario import (
    BACK_TIMEOUT_S,
    EXCHANGED_PORT,
    LOCAL,
    answers,
    clean_up,
    exchange_of_all,
    exchanging,
    keeping,
)
from tests.bench.gateway.target import PORT, WEB, Target
from tests.bench.samples import percentile
from tests.bench.target import NAMESPACE
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.local_server import serving

Figures = dict[str, float]

MOST_REQUESTS = 100_000
WIDTH = 16
NODES_KNOW_AFTER_S = 2.0
IDLE_AFTER_S = 3.0  # what a start leaves is freed, and pages are shared or not


def first_request(lab: Lab, target: Target) -> Figures:
    """From the command to the first request that the local port answers, in seconds; asked for from the node."""
    try:
        return {cases.FIRST_REQUEST: _first_request_s(lab, target)}
    finally:
        clean_up(lab)


def first_request_kept(lab: Lab, target: Target) -> Figures:
    """The same where the gateway has been kept."""
    with keeping(lab):
        time.sleep(NODES_KNOW_AFTER_S)
        return {cases.FIRST_REQUEST_KEPT: _first_request_s(lab, target)}


def _first_request_s(lab: Lab, target: Target) -> float:
    host = target.cluster_ips[WEB]
    with serving(lab, EXCHANGED_PORT, LOCAL):
        began_s = time.monotonic()
        with exchange_of_all(lab) as exchange:
            wait_until(lambda: answers(lab, host) == LOCAL, BACK_TIMEOUT_S, "the first local request")
            took_s = time.monotonic() - began_s
            exchange.wait_ready()
    return took_s


def start_to_ready(lab: Lab) -> Figures:
    """Of the gateway's container: from its first process to its first 200 for the kubelet, in seconds."""
    with exchanging(lab):
        wait_until(lambda: any(pod.ip for pod in gateway_pods(lab, WEB)), BACK_TIMEOUT_S, "the gateway's pod")
        [pod] = gateway_pods(lab, WEB)
        port = _ready_port(lab, pod)

        def is_ready() -> bool:
            with suppress(OSError, HTTPException):
                return ask(lab.layout.node_netns_path, pod.ip, path="/ready", port=port, timeout_s=0.2)[0] == 200
            return False

        wait_until(is_ready, BACK_TIMEOUT_S, "the gateway to be ready")
        ready_s = time.monotonic()
        first = next(process for process in pod.processes() if process.is_called("ktpy-agent", "gateway"))
        return {cases.READY: ready_s - started_s(first)}


def _ready_port(lab: Lab, pod: Pod) -> int:
    document = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.name}")
    return int(document["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"])


def idle_memory(lab: Lab) -> Figures:
    """Of the gateway's pod while nobody uses it, in MB: with one route, and with none, its laptop being dead."""
    with serving(lab, EXCHANGED_PORT, LOCAL), exchanging(lab) as exchange:
        exchange.wait_ready()
        time.sleep(IDLE_AFTER_S)
        [pod] = gateway_pods(lab, WEB)
        with_route_mb = pod.memory_mb()
        exchange.kill()
        wait_until(lambda: not _has_route(pod), BACK_TIMEOUT_S, "the dead laptop's route to end")
        time.sleep(IDLE_AFTER_S)
        return {cases.MEMORY: pod.memory_mb(), cases.MEMORY_OF_ONE: with_route_mb}


def _has_route(pod: Pod) -> bool:
    return any(process.is_called("ktpy-agent", "route") for process in pod.processes())


def image(archive: Path) -> Figures:
    """All files of the image's layers, unpacked, in MB."""
    return {cases.IMAGE: unpacked_mb(archive)}


@dataclass(frozen=True, slots=True)
class OfOthers:
    """`take(pod, host, duration_s)` is one round, from a pod."""

    figures: tuple[str, ...]
    take: Callable[[Pod, str, float], Figures]


def _requests(kind: str) -> OfOthers:
    """One after the other, in milliseconds."""
    names = {percent: cases.others(kind, percent) for percent in PERCENTS}

    def take(visitors: Pod, host: str, duration_s: float) -> Figures:
        took_s = visitors.run("requests", kind, host, PORT, duration_s, MOST_REQUESTS)
        if not took_s:
            raise BenchError("not one answer in the time of a round")
        return {name: percentile(took_s, percent) * 1000 for percent, name in names.items()}

    return OfOthers((*names.values(), *(name + ADDED for name in names.values())), take)


def _rate(visitors: Pod, host: str, duration_s: float) -> Figures:
    """Many at once, answered a second."""
    return {RATE: visitors.run("width", host, PORT, duration_s, WIDTH)}


OF_OTHERS = (*(_requests(kind) for kind in KINDS), OfOthers((RATE,), _rate))
