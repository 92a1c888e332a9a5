"""Every row of `scripts/bench connect`."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from tests.bench import many_services, up_again
from tests.bench.goals import Goal, at_least, at_least_times, at_most, at_most_times
from tests.bench.samples import Source
from tests.bench.specs import KTPY, Spec

PORT_FORWARD = "port-forward"  # kubectl's
SSHUTTLE = "sshuttle"
TELEPRESENCE = "telepresence"
AGAINST = "against"  # ktpy of another revision
COREDNS = "coredns"  # asked from the node, without a tunnel: for information

NO_KEEP = "no-keep"  # ktpy connect --no-keep
CONNECTED = "connect"  # ktpy connect, where ktpy run is compared with it

FIRST_BYTE = "first-byte"
PART_SEPARATOR = "/"  # between a figure and the name of its part
FIRST_BYTE_PART = FIRST_BYTE + PART_SEPARATOR  # the part is named as ktpy's progress lines have it
DATAGRAM_BYTES = (64, 1200)
RUN = "run"
RUN_STARTS = {f"{RUN}-": (), f"{RUN}-as-pod-": ("pod/target",)}  # and the name of a goal: `ktpy run` with this workload
RUN_GOALS = {"first-line": 1.8, "first-byte": 2.0}  # seconds
IN_RUN = f"{RUN}/"  # and the name of the figure, inside ktpy run, turn by turn with the same over ktpy connect
KEEPING = "keep/"  # and the name of the figure, of sessions with and without --no-keep, turn by turn
VIA = "via/"  # and the name of the figure, of a session past the API server, turn by turn with kubectl port-forward

PEER = TELEPRESENCE + PART_SEPARATOR  # and the name of the figure, of ktpy connect, turn by turn with Telepresence
FORWARD = "forward/"  # and the name of the figure, of ktpy forward, turn by turn with kubectl port-forward
BROKEN = FORWARD + "broken"  # requests that break after a pod was replaced


class Line(NamedTuple):
    """How far away the node is, and how many packets of each direction are lost on the way."""

    round_trip_ms: int
    lost_percent: int = 0

    def __str__(self) -> str:
        return f"{self.round_trip_ms}ms" + (f"-{self.lost_percent}pct" if self.lost_percent else "")


LINES = (Line(20), Line(80), Line(80, 1), Line(80, 3))


def _against_both(figure: str, unit: str, goal: Goal | None, sshuttle_goal: Goal | None = None) -> list[Spec]:
    return [
        Spec(figure, unit, Source(PORT_FORWARD, figure), goal),
        Spec(figure, unit, Source(SSHUTTLE, figure), sshuttle_goal, suffix="-sshuttle"),
    ]


def throughput(flows: int, direction: str, line: Line | None = None) -> str:
    """Name of the figure."""
    return f"throughput-{flows}-{direction}" + (f"-{line}" if line else "")


def many_requests(line: Line) -> str:
    """Name of the figure: small requests of many programs at once, on kept connections."""
    return f"http-many-p95-{line}"


def _throughput_rows() -> list[Spec]:
    times = {"down": 0.9, "up": 0.8}
    return [
        spec
        for direction in times
        for flows in (1, 8)
        for spec in _against_both(
            throughput(flows, direction), "Gbit/s", at_least_times(times[direction]), at_least_times(6)
        )
    ]


def processor_time(flows: int, direction: str) -> str:
    """Name of the figure: processor seconds per GB of who carries the traffic; of others it is a part."""
    return f"cpu-{flows}-{direction}"


def _processor_rows(prefix: str = "", baseline: str = PORT_FORWARD) -> list[Spec]:
    figures = [prefix + processor_time(flows, direction) for direction in ("down", "up") for flows in (1, 8)]
    return [Spec(figure, "s/GB", Source(baseline, figure)) for figure in figures]


def against(specs: Iterable[Spec]) -> list[Spec]:
    """The rows, and of each figure one that compares it with the other revision's."""
    rows = list(specs)
    of_this_one = (
        FIRST_BYTE,
        many_services.FIGURE,
        many_services.CHANGING,
        KEEPING,
        RUN,
        VIA,
        FORWARD,
        PEER,
        up_again.FIGURE,
    )
    units = {spec.figure: spec.unit for spec in rows if not spec.figure.startswith(of_this_one)}
    return rows + [Spec(figure, unit, Source(AGAINST, figure), suffix="-against") for figure, unit in units.items()]


def _line_rows() -> list[Spec]:
    """Compared with ktpy itself on the short line; a single flow has an absolute goal, at the larger round trip."""

    def goal(flows: int, line: Line) -> Goal | None:
        if line.lost_percent:
            return None
        if flows == 8:
            return at_least_times(0.5)
        return at_least(0.2) if line.round_trip_ms == 80 else None

    rates = [
        Spec(
            throughput(flows, direction, line), "Gbit/s", Source(KTPY, throughput(flows, direction)), goal(flows, line)
        )
        for line in LINES
        for flows in (1, 8)
        for direction in ("down", "up")
    ]
    return rates + [Spec(many_requests(line), "ms") for line in LINES]


def datagram_rate(size: int) -> str:
    """Name of the figure: datagrams a second of which none is lost."""
    return f"udp-rate-{size}"


def _datagram_rows() -> list[Spec]:
    """A round trip is compared with the request on a kept connection, and with what a busy machine makes of a sleep."""
    kept = Source(KTPY, "http-kept-p50")
    return [
        Spec("udp-p50", "ms", kept, at_most_times(1.3)),
        Spec("udp-p99", "ms"),
        Spec("udp-busy-p50", "ms"),
        Spec("udp-busy-p99", "ms", Source(KTPY, "sleep-busy-p99"), at_most(10)),
        Spec(datagram_rate(64), "1/s"),
        Spec(datagram_rate(1200), "1/s", goal=at_least(20_000)),
    ]


def _keeping_rows() -> list[Spec]:
    """What it costs that connections outlive the link, and whom."""
    rows = _by_turns(KEEPING, NO_KEEP, flows=(1, 8), rate_goal=at_least_times(0.95))
    return rows + _processor_rows(KEEPING, NO_KEEP)


def _run_rows() -> list[Spec]:
    """A program's start, and what its network costs it."""
    starts = [Spec(way + name, "s", goal=at_most(limit)) for way in RUN_STARTS for name, limit in RUN_GOALS.items()]
    return starts + _by_turns(IN_RUN, CONNECTED, flows=(1,), rate_goal=at_least_times(0.9))


def _via_rows() -> list[Spec]:
    """What `--via node` brings: nothing but names and the watches goes through the API server any more."""
    goals = {"http-new-p50": None, "http-kept-p50": at_most_times(0.7)}
    rows = [Spec(VIA + name, "ms", Source(PORT_FORWARD, VIA + name), goal) for name, goal in goals.items()]
    for flows, direction in product((1, 8), ("down", "up")):
        rate, cost = VIA + throughput(flows, direction), VIA + processor_time(flows, direction)
        rows.append(Spec(rate, "Gbit/s", Source(PORT_FORWARD, rate), at_least_times(2)))
        rows.append(Spec(cost, "s/GB", Source(PORT_FORWARD, cost)))
    return rows


def _forward_rows() -> list[Spec]:
    """Single ports, without root: as fast as kubectl's, and no request breaks as a pod is replaced between two."""
    figures = [FORWARD + throughput(flows, direction) for flows, direction in product((1, 8), ("down", "up"))]
    rates = [(figure, "Gbit/s", Source(PORT_FORWARD, figure), at_least_times(1)) for figure in figures]
    rows = [Spec(*rate, is_paired=True) for rate in rates]
    times = [FORWARD + name for name in ("http-new-p50", "http-kept-p50")]
    rows += [Spec(figure, "ms", Source(PORT_FORWARD, figure)) for figure in times]
    return [*rows, Spec(BROKEN, "requests", Source(PORT_FORWARD, BROKEN), at_most(0), is_worst=True)]


def _peer_rows() -> list[Spec]:
    """Datagrams, and the download that some are beside, with another tool that carries both."""
    units = {"udp-p50": "ms", "udp-p99": "ms", "udp-busy-p50": "ms", "udp-busy-p99": "ms"}
    units |= {datagram_rate(size): "1/s" for size in DATAGRAM_BYTES} | {throughput(1, "down"): "Gbit/s"}
    figures = {PEER + name: unit for name, unit in units.items()}
    return [Spec(figure, unit, Source(TELEPRESENCE, figure), on_request=True) for figure, unit in figures.items()]


def _by_turns(prefix: str, baseline: str, *, flows: Iterable[int], rate_goal: Goal) -> list[Spec]:
    figures = [("http-new-p50", "ms", at_most_times(1.1)), ("http-kept-p50", "ms", at_most_times(1.1))]
    figures += [(throughput(count, direction), "Gbit/s", rate_goal) for direction in ("down", "up") for count in flows]
    return [Spec(prefix + name, unit, Source(baseline, prefix + name), goal) for name, unit, goal in figures]


def _memory_rows() -> list[Spec]:
    return [
        Spec(f"memory-{state}-{kind}", "MB", Source(PORT_FORWARD, f"memory-{state}-{kind}"), goal)
        for state, limit in (("idle", 90), ("1000-flows", 200))
        for kind, goal in (("rss", at_most(limit)), ("pss", None))
    ]


CONNECT: Sequence[Spec] = (
    Spec(FIRST_BYTE, "s", goal=at_most(1.5)),
    *_throughput_rows(),
    *_processor_rows(),
    *_against_both("http-new-p50", "ms", at_most_times(0.9)),
    *_against_both("http-new-p99", "ms", at_most_times(0.6)),
    *_against_both("http-kept-p50", "ms", at_most_times(1.5)),
    *_against_both("http-kept-p99", "ms", at_most_times(1.5)),
    *_against_both("connections", "1/s", at_least(500)),
    Spec("dns-rate", "1/s", Source(COREDNS, "dns-rate"), at_least(5000)),
    Spec("dns-p99", "ms", Source(COREDNS, "dns-p99"), at_most(2)),
    *_datagram_rows(),
    *_memory_rows(),
    Spec("memory-peak", "MB", Source(PORT_FORWARD, "memory-peak")),
    *_keeping_rows(),
    *_run_rows(),
    *_via_rows(),
    *_forward_rows(),
    *_peer_rows(),
    Spec(up_again.FIGURE, "s", goal=at_most(0.7)),
    Spec(many_services.FIGURE, "MB", goal=at_most(150)),
    Spec(many_services.HELD, "MB", goal=at_most(40)),
    Spec(many_services.GROWN, "MB", goal=at_most(2)),
    *_line_rows(),
)
