"""What is measured of every contender, one round at a time. Each says beforehand which figures come of it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests.bench import cases, memory, processor
from tests.bench.background import background
from tests.bench.contenders import Contender
from tests.bench.errors import BenchError
from tests.bench.loading import ENVIRONMENT, command, on_laptop, on_node
from tests.bench.rates import gigabits_per_second
from tests.bench.samples import percentile
from tests.bench.server import ECHO_PORT, HTTP_PORT, SINK_PORT, SOURCE_PORT
from tests.bench.target import FULL_NAME
from tests.lab import Lab
from tests.lab.layout import CLUSTER_DNS_IPV4

Figures = dict[str, float]

RAMP_FRACTION = 0.15  # of a round, left out: slow start
MOST_REQUESTS = 600
CONNECTIONS_AT_ONCE, MOST_CONNECTIONS = 32, 2000
QUESTIONS_AT_ONCE, MOST_QUESTIONS = 16, 40_000
MOST_QUESTIONS_ONE_BY_ONE = 2000
IDLE_FLOWS = 1000
IDLE_TIMEOUT_S = 60.0
SETTLE_S = 1.0  # memory of a process that has just worked
EARLIER_S = 0.3  # a transfer before: further connections to a place that had bulk are faster with ktpy
WIDE_AFTER_S = 5.0  # further connections over a long line, which take their time to be made


@dataclass(frozen=True, slots=True)
class Measurement:
    """`take(lab, contender, duration_s)` is one round."""

    figures: tuple[str, ...]
    take: Callable[[Lab, Contender, float], Figures]
    once: bool = False  # a second round would find nothing new


def throughput(flows: int, direction: str, line: cases.Line | None = None) -> Measurement:
    figure = cases.throughput(flows, direction, line)
    port = {"down": SOURCE_PORT, "up": SINK_PORT}[direction]
    processor_figure = cases.processor_time(flows, direction)

    def take(lab: Lab, contender: Contender, duration_s: float) -> Figures:
        time.sleep(WIDE_AFTER_S if line else 0.0)
        on_laptop(lab, "streams", direction, *contender.addresses[port], 1, EARLIER_S)
        before = processor.spent(lab.name, contender.pid)
        timelines = on_laptop(lab, "streams", direction, *contender.addresses[port], flows, duration_s)
        after = processor.spent(lab.name, contender.pid)
        rate = gigabits_per_second(timelines, ramp_s=RAMP_FRACTION * duration_s, end_s=duration_s)
        if line:
            return {figure: rate}
        arrived = sum(timeline[-1][1] for timeline in timelines if timeline)
        return {figure: rate} | processor.per_gigabyte(processor_figure, before, after, arrived)

    return Measurement((figure,) if line else (figure, processor_figure), take)


def _milliseconds(took_s: list[float], percent: float) -> float:
    if not took_s:
        raise BenchError("not one answer in the time of a round")
    return percentile(took_s, percent) * 1000


def many_requests(line: cases.Line) -> Measurement:
    """Small ones of many programs at once: how long those wait that a lost packet is in the way of."""
    figure = cases.many_requests(line)

    def take(lab: Lab, contender: Contender, duration_s: float) -> Figures:
        time.sleep(WIDE_AFTER_S)
        took_s = on_laptop(lab, "requests", "many", *contender.addresses[HTTP_PORT], 2 * duration_s, MOST_REQUESTS)
        return {figure: _milliseconds(took_s, 95)}

    return Measurement((figure,), take)


def http(kind: str) -> Measurement:
    names = {percent: f"http-{kind}-p{percent}" for percent in (50, 99)}

    def take(lab: Lab, contender: Contender, duration_s: float) -> Figures:
        took_s = on_laptop(lab, "requests", kind, *contender.addresses[HTTP_PORT], duration_s, MOST_REQUESTS)
        return {name: _milliseconds(took_s, percent) for percent, name in names.items()}

    return Measurement(tuple(names.values()), take)


def _connections(lab: Lab, contender: Contender, duration_s: float) -> Figures:
    bounds = (duration_s, CONNECTIONS_AT_ONCE, MOST_CONNECTIONS)
    return {"connections": on_laptop(lab, "connections", *contender.addresses[ECHO_PORT], *bounds)}


def _questions(lab: Lab, contender: Contender, *bounds: float) -> Any:
    if contender.name == cases.COREDNS:
        return on_node(lab, "questions", CLUSTER_DNS_IPV4, FULL_NAME, *bounds)
    return on_laptop(lab, "questions", contender.dns, FULL_NAME, *bounds)


def _dns(lab: Lab, contender: Contender, duration_s: float) -> Figures:
    """The rate with many questions under way, and the time that one takes while nobody else asks."""
    rate = _questions(lab, contender, duration_s, QUESTIONS_AT_ONCE, MOST_QUESTIONS)["rate"]
    took_s = _questions(lab, contender, duration_s, 1, MOST_QUESTIONS_ONE_BY_ONE)["took_s"]
    return {"dns-rate": rate, "dns-p99": _milliseconds(took_s, 99)}


def _datagram_round_trips(lab: Lab, contender: Contender, duration_s: float) -> list[float]:
    where = contender.addresses[ECHO_PORT]
    return list(on_laptop(lab, "datagrams", "round-trips", *where, duration_s, MOST_REQUESTS))


def _datagrams_alone(lab: Lab, contender: Contender, duration_s: float) -> Figures:
    took_s = _datagram_round_trips(lab, contender, duration_s)
    return {f"udp-p{percent}": _milliseconds(took_s, percent) for percent in (50, 99)}


def _datagrams_beside_a_download(lab: Lab, contender: Contender, duration_s: float) -> Figures:
    """And by how much a program sleeps too long beside that download: so much of it is the machine's."""
    download = command("streams", "down", *contender.addresses[SOURCE_PORT], 1, 2 * duration_s + 3 * SETTLE_S)
    with background(lab, download, env=ENVIRONMENT):
        time.sleep(SETTLE_S)
        took_s = _datagram_round_trips(lab, contender, duration_s)
        late_s = list(on_laptop(lab, "lateness", duration_s))
    took = {f"udp-busy-p{percent}": _milliseconds(took_s, percent) for percent in (50, 99)}
    return took | {"sleep-busy-p99": _milliseconds(late_s, 99)}


def datagram_rate(size: int) -> Measurement:
    figure = cases.datagram_rate(size)

    def take(lab: Lab, contender: Contender, duration_s: float) -> Figures:
        where = contender.addresses[SINK_PORT]
        return {figure: float(on_laptop(lab, "datagrams", "rate", *where, size, duration_s / 2))}

    return Measurement((figure,), take)


def _memory_figures(state: str, pid: int) -> Figures:
    time.sleep(SETTLE_S)
    return {f"memory-{state}-{kind}": value for kind, value in memory.of_process(pid).items()}


def _memory_idle(lab: Lab, contender: Contender, duration_s: float) -> Figures:
    return _memory_figures("idle", contender.pid)


def _memory_flows(lab: Lab, contender: Contender, duration_s: float) -> Figures:
    with ExitStack() as stack:
        flows = command("idle", *contender.addresses[ECHO_PORT], IDLE_FLOWS, IDLE_TIMEOUT_S)
        process = stack.enter_context(background(lab, flows, env=ENVIRONMENT))
        process.wait_for(rf"^{IDLE_FLOWS}$", timeout_s=IDLE_TIMEOUT_S)
        return _memory_figures(f"{IDLE_FLOWS}-flows", contender.pid)


def _memory_peak(lab: Lab, contender: Contender, duration_s: float) -> Figures:
    """What the process has needed at most for all that was measured before: last of its phase."""
    return {"memory-peak": memory.peak_mb(contender.pid)}


DATAGRAMS = (
    Measurement(("udp-p50", "udp-p99"), _datagrams_alone),
    Measurement(("udp-busy-p50", "udp-busy-p99", "sleep-busy-p99"), _datagrams_beside_a_download),
    *map(datagram_rate, cases.DATAGRAM_BYTES),
)

# In this order: memory while the session is fresh; what is sensitive to noise before what makes it.
STRAIGHT = (
    Measurement(("memory-idle-rss", "memory-idle-pss"), _memory_idle, once=True),
    http("new"),
    http("kept"),
    Measurement(("dns-rate", "dns-p99"), _dns),
    *DATAGRAMS,
    Measurement(("connections",), _connections),
    Measurement((f"memory-{IDLE_FLOWS}-flows-rss", f"memory-{IDLE_FLOWS}-flows-pss"), _memory_flows, once=True),
    *(throughput(flows, direction) for direction in ("down", "up") for flows in (1, 8)),
    Measurement(("memory-peak",), _memory_peak, once=True),
)

KEEPING = (
    http("new"),
    http("kept"),
    *(throughput(flows, direction) for direction in ("down", "up") for flows in (1, 8)),
)

BESIDE_A_PEER = (*DATAGRAMS, throughput(1, "down"))


def over(line: cases.Line) -> tuple[Measurement, ...]:
    """What is measured over a long line."""
    rates = (throughput(flows, direction, line) for flows in (1, 8) for direction in ("down", "up"))
    return (many_requests(line), *rates)
