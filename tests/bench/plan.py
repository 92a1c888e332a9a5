"""What runs when: phases, rounds, and whose turn it is."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

from tests.bench import contenders, first_byte, forwarding, in_run, many_services, measurements, telepresence, up_again
from tests.bench.cases import (
    AGAINST,
    BROKEN,
    CONNECTED,
    COREDNS,
    FIRST_BYTE,
    FORWARD,
    IN_RUN,
    KEEPING,
    LINES,
    NO_KEEP,
    PEER,
    PORT_FORWARD,
    RUN_GOALS,
    RUN_STARTS,
    SSHUTTLE,
    TELEPRESENCE,
    VIA,
    Line,
)
from tests.bench.contenders import Contender
from tests.bench.measurements import Measurement
from tests.bench.samples import Samples, Source
from tests.bench.specs import KTPY, Spec
from tests.bench.sshuttle import sshuttle
from tests.bench.target import Target
from tests.lab import Lab
from tests.lab.sessions.connect import PROGRAM

logger = logging.getLogger(__name__)

FIRST_BYTE_ROUNDS = 5
FORWARD_TURNS = 4
"""In a round, each way has so many turns, right after one another: their rates are next to the same."""

_BASELINES: dict[str, Callable[[Lab, Target], AbstractContextManager[Contender]]] = {
    PORT_FORWARD: lambda lab, target: contenders.port_forward(lab),
    SSHUTTLE: sshuttle,
    COREDNS: lambda lab, target: contenders.coredns(),
}


@dataclass
class Run:
    """One run of the bench against a target that stands. `archive` is the agent's image."""

    lab: Lab
    target: Target
    archive: Path
    specs: Sequence[Spec]
    rounds: int
    duration_s: float
    against: Sequence[str] = ()
    """The command that runs another build, if there is one to compare with."""
    samples: Samples = field(default_factory=Samples)

    def all(self) -> None:
        """Every phase that the wanted rows need."""
        self._starts()
        self._up_again()
        self._phase(measurements.STRAIGHT)
        self._keeping()
        self._in_run()
        self._past_the_api_server()
        self._forwarding()
        self._beside_a_peer()
        for line in LINES:
            wanted = measurements.over(line)
            if self._wanted(wanted):
                with _long(self.lab, line):
                    self._phase(wanted)
        self._many_services()

    def _starts(self) -> None:
        """Whatever is measured from a command's first moment on."""
        wanted = {spec.figure for spec in self.specs}
        starts = {
            first_byte.measure: {FIRST_BYTE},
            in_run.measure: {way + name for way in RUN_STARTS for name in RUN_GOALS},
        }
        for measure, figures in starts.items():
            for number in range(FIRST_BYTE_ROUNDS if figures & wanted else 0):
                logger.info("%s, round %d of %d", ", ".join(figures), number + 1, FIRST_BYTE_ROUNDS)
                with self.samples.reporting(KTPY):
                    self.samples.add(KTPY, measure(self.lab))

    def _up_again(self) -> None:
        if not any(spec.figure == up_again.FIGURE for spec in self.specs):
            return
        with self.samples.reporting(KTPY), up_again.standing(self.lab) as again:
            for number in range(self.rounds * FIRST_BYTE_ROUNDS):
                logger.info("%s, round %d of %d", up_again.FIGURE, number + 1, self.rounds * FIRST_BYTE_ROUNDS)
                self.samples.add(KTPY, {up_again.FIGURE: again()})

    def _keeping(self) -> None:
        """One session after the other: there is but one at a time on a laptop."""
        measured = self._measured(KEEPING)
        ways: list[tuple[str, list[str]]] = [(KTPY, ["--keep", "10m"]), (NO_KEEP, ["--no-keep"])]
        for number in range(self.rounds if measured else 0):
            for name, options in reversed(ways) if number % 2 else ways:
                logger.info("%s and what it costs, round %d of %d", name, number + 1, self.rounds)
                with self.samples.reporting(name), contenders.ktpy(self.lab, self.target, options=options) as way:
                    self._take(KEEPING, measured, name, self.lab, way)

    def _in_run(self) -> None:
        """Programs of `ktpy run`, and those of a laptop that is connected, which the others do not see."""
        measured = self._measured(IN_RUN)
        if not measured:
            return
        ways = [(KTPY, in_run.InRun(self.lab.name)), (CONNECTED, self.lab)]
        with contenders.ktpy(self.lab, self.target) as way:
            for number in range(self.rounds):
                for name, lab in reversed(ways) if number % 2 else ways:
                    logger.info("a program's network, %s, round %d of %d", name, number + 1, self.rounds)
                    with self.samples.reporting(name):
                        self._take(IN_RUN, measured, name, lab, way)

    def _past_the_api_server(self) -> None:
        measured = self._measured(VIA)
        if not measured:
            return
        past = contenders.ktpy(self.lab, self.target, options=("--via", "node"))
        with past as way, contenders.port_forward(self.lab) as forward:
            for number in range(self.rounds):
                for one in (forward, way) if number % 2 else (way, forward):
                    logger.info("past the API server, %s, round %d of %d", one.name, number + 1, self.rounds)
                    with self.samples.reporting(one.name):
                        self._take(VIA, measured, one.name, self.lab, one)

    def _forwarding(self) -> None:
        """Single ports of the laptop; then the pod behind them is replaced."""
        measured = self._measured(FORWARD)
        counts = any(spec.figure == BROKEN for spec in self.specs)
        for number in range(self.rounds if measured or counts else 0):
            logger.info("ktpy forward, round %d of %d", number + 1, self.rounds)
            with self.samples.reporting("forward"), forwarding.both(self.lab) as ways:
                for one, turn in product(measured, range(FORWARD_TURNS)):
                    order = reversed(ways) if turn % 2 else ways
                    taken = {way.name: one.take(self.lab, way, self.duration_s) for way in order}
                    for name, figures in taken.items():  # both, or neither: each is compared with the other's
                        self.samples.add(name, {FORWARD + figure: value for figure, value in figures.items()})
                if counts:
                    for name, broken in forwarding.broken(self.lab, self.target, ways).items():
                        self.samples.add(name, {BROKEN: broken})

    def _beside_a_peer(self) -> None:
        """One after the other, since both route the same ranges; the peer's server stands all the time."""
        measured = self._measured(PEER, measurements.BESIDE_A_PEER)
        if not measured:
            return
        with self.samples.reporting(TELEPRESENCE), telepresence.installed(self.lab) as connect:
            ways = [(KTPY, contenders.ktpy), (TELEPRESENCE, connect)]
            for number in range(self.rounds):
                for name, begin in reversed(ways) if number % 2 else ways:
                    logger.info("datagrams, %s, round %d of %d", name, number + 1, self.rounds)
                    with self.samples.reporting(name), begin(self.lab, self.target) as way:
                        for one in measured:
                            with self.samples.reporting(f"{name}, {one.figures[0]}"):
                                self._take(PEER, [one], name, self.lab, way)

    def _measured(self, prefix: str, phase: Iterable[Measurement] = measurements.KEEPING) -> list[Measurement]:
        """What of a phase has to be measured for the rows of the prefix."""
        wanted = {spec.figure for spec in self.specs}
        return [one for one in phase if not wanted.isdisjoint(prefix + name for name in one.figures)]

    def _take(self, prefix: str, measured: Iterable[Measurement], name: str, lab: Lab, way: Contender) -> None:
        for one in measured:
            figures = one.take(lab, way, self.duration_s)
            self.samples.add(name, {prefix + figure: value for figure, value in figures.items()})

    def _many_services(self) -> None:
        wanted = {spec.figure for spec in self.specs}
        if wanted & {many_services.HELD, many_services.GROWN}:
            logger.info(many_services.CHANGING)
            with self.samples.reporting(KTPY):
                self.samples.add(KTPY, many_services.measure_changes())
        if many_services.FIGURE not in wanted:
            return
        with self.samples.reporting(KTPY), many_services.crowded(f"{self.lab.name}-many", self.archive) as lab:
            logger.info(many_services.FIGURE)
            self.samples.add(KTPY, many_services.measure(lab))

    def _phase(self, phase: Iterable[Measurement]) -> None:
        """Everyone who takes part is up; then measurement by measurement, round by round, one after the other."""
        wanted = self._wanted(phase)
        names = {name for taking_part in wanted.values() for name in taking_part}
        if not names:
            return
        with ExitStack() as ways:
            builds = ways.enter_context(_Builds(self.lab, self.target, {KTPY: PROGRAM, AGAINST: self.against}))
            up: dict[str, Callable[[], Contender]] = {name: partial(builds.up, name) for name in (KTPY, AGAINST)}
            for name, bring_up in _BASELINES.items():
                if name in names:
                    with self.samples.reporting(name):
                        contender = ways.enter_context(bring_up(self.lab, self.target))
                        up[name] = partial(_same, contender)
            for measurement, taking_part in wanted.items():
                self._measure(measurement, {name: up[name] for name in taking_part if name in up})

    def _wanted(self, phase: Iterable[Measurement]) -> dict[Measurement, list[str]]:
        """Those of a phase that the wanted rows need, and of whom they need them: ktpy first, then its baselines."""
        sources = {source for spec in self.specs for source in spec.sources}
        order = [KTPY, AGAINST, *_BASELINES]
        needed = {
            measurement: [
                name for name in order if any(Source(name, figure) in sources for figure in measurement.figures)
            ]
            for measurement in phase
        }
        return {measurement: names for measurement, names in needed.items() if names}

    def _measure(self, measurement: Measurement, taking_part: dict[str, Callable[[], Contender]]) -> None:
        rounds = 1 if measurement.once else self.rounds
        for number in range(rounds):
            logger.info("%s, round %d of %d", ", ".join(measurement.figures), number + 1, rounds)
            for name in reversed(taking_part) if number % 2 else taking_part:
                with self.samples.reporting(f"{name}, {measurement.figures[0]}"):
                    self.samples.add(name, measurement.take(self.lab, taking_part[name](), self.duration_s))


def _same(contender: Contender) -> Contender:
    return contender


class _Builds(ExitStack):
    """Builds of ktpy, of which one is up at a time: they would have the same routes."""

    def __init__(self, lab: Lab, target: Target, programs: dict[str, Sequence[str]]) -> None:
        super().__init__()
        self._lab, self._target, self._programs = lab, target, programs
        self._contender: Contender | None = None

    def up(self, name: str) -> Contender:
        """The one that is called so, after the other has ended."""
        if self._contender is None or self._contender.name != name:
            self.close()
            self._contender = None
            logger.info("connecting: %s", name)
            self._contender = self.enter_context(contenders.ktpy(self._lab, self._target, name, self._programs[name]))
        return self._contender


@contextmanager
def _long(lab: Lab, line: Line) -> Iterator[None]:
    """The node is so far away for a while."""
    lab.set_latency(line.round_trip_ms, lost_percent=line.lost_percent)
    try:
        yield
    finally:
        lab.set_latency(0)
