"""What runs when, and what is reported of it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.bench.gateway import cases, measurements, watching
from tests.bench.gateway.cases import WITHOUT
from tests.bench.gateway.faults import FAULTS, Fault
from tests.bench.gateway.load import steady_load
from tests.bench.gateway.measurements import Figures
from tests.bench.gateway.report import timeline
from tests.bench.gateway.scenario import EXCHANGED_PORT, LOCAL, clean_up, meshing, scenario
from tests.bench.gateway.target import BEHIND, STRAIGHT, Target
from tests.bench.samples import Samples
from tests.bench.specs import KTPY, Spec
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.local_server import running_program
from tests.lab.sessions.request_log import until_answered

logger = logging.getLogger(__name__)

FIRST_REQUEST_ROUNDS = 5
LOCAL_PROGRAM = "tests.bench.load.local"
AFTERWARDS, AFTERWARDS_TIMEOUT_S = 400, 30.0  # requests that are still made once it is over


@dataclass
class Run:
    """One run of the bench against a target that stands. `archive` is the agent's image."""

    lab: Lab
    target: Target
    archive: Path
    specs: Sequence[Spec]
    rounds: int
    duration_s: float
    samples: Samples = field(default_factory=Samples)
    requests: int = 0
    """Of everybody else, while something happened."""
    late_s: float = 0.0
    """By how much one of them began after it was due, at most."""
    remarks: list[str] = field(default_factory=list)
    """What is to be said of the rows."""

    def all(self) -> None:
        """Whatever the wanted rows need."""
        with self.samples.reporting("what an earlier run left"):
            clean_up(self.lab)
        self._rounds(
            (cases.FIRST_REQUEST,), FIRST_REQUEST_ROUNDS, lambda: measurements.first_request(self.lab, self.target)
        )
        self._rounds(
            (cases.FIRST_REQUEST_KEPT,),
            FIRST_REQUEST_ROUNDS,
            lambda: measurements.first_request_kept(self.lab, self.target),
        )
        self._rounds((cases.READY,), self.rounds, lambda: measurements.start_to_ready(self.lab))
        self._rounds((cases.MEMORY, cases.MEMORY_OF_ONE), 1, lambda: measurements.idle_memory(self.lab))
        self._rounds((cases.IMAGE,), 1, lambda: measurements.image(self.archive))
        self._of_others()
        self._watched()
        for fault in FAULTS:
            self._rounds(cases.figures(fault), self.rounds, partial(self._disturb, fault))

    def _wants(self, figures: Sequence[str]) -> bool:
        return any(source.figure in figures for spec in self.specs for source in spec.sources)

    def _rounds(self, figures: Sequence[str], rounds: int, take: Callable[[], Figures]) -> None:
        if not self._wants(figures):
            return
        for number in range(rounds):
            logger.info("%s, round %d of %d", ", ".join(figures), number + 1, rounds)
            with self.samples.reporting(figures[0]):
                self.samples.add(KTPY, take())

    def _of_others(self) -> None:
        """Round by round, with and without the gateway, in turns; every other round the other way about."""
        wanted = [kind for kind in measurements.OF_OTHERS if self._wants(kind.figures)]
        if not wanted:
            return
        ways = {KTPY: self.target.cluster_ips[BEHIND], WITHOUT: self.target.cluster_ips[STRAIGHT]}
        with self.samples.reporting("others"), meshing(self.lab, BEHIND, ways[KTPY]):
            for kind in wanted:
                for number in range(self.rounds):
                    logger.info("%s, round %d of %d", ", ".join(kind.figures), number + 1, self.rounds)
                    order = list(ways.items())[:: -1 if number % 2 else 1]
                    taken = {name: kind.take(self.target.visitors[0], host, self.duration_s) for name, host in order}
                    for name, figures in taken.items():
                        self.samples.add(name, figures)
                    self.samples.add(KTPY, cases.differences(taken[KTPY], taken[WITHOUT]))

    def _watched(self) -> None:
        """An exchange under load, watched and not, by turns."""
        if not any(spec.figure.startswith("watch-") for spec in self.specs):
            return
        with self.samples.reporting("watch"), scenario(self.lab, self.target) as scene:
            program = running_program(self.lab, LOCAL_PROGRAM, str(EXCHANGED_PORT), LOCAL, port=EXCHANGED_PORT)
            scene.stack.enter_context(program)
            scene.begin_exchange()
            scene.until_reached(LOCAL)
            pairs = []
            for number in range(self.rounds):
                logger.info("watch, round %d of %d", number + 1, self.rounds)
                pairs += watching.measure(scene, self.duration_s)
            self.remarks.append(watching.settle(self.samples, pairs))

    def _disturb(self, fault: Fault) -> Figures:
        """Once, while everybody else uses the service."""
        with scenario(self.lab, self.target) as scene:
            fault.prepare(scene)
            scene.until_reached(fault.answers_before)
            try:
                with steady_load(self.target) as everybody:
                    scene.load = everybody
                    until_answered(everybody, fault.answers_before)
                    scene.notes.clear()
                    fault.happen(scene)
                    enough = len(everybody.visits) + AFTERWARDS
                    wait_until(lambda: len(everybody.visits) >= enough, AFTERWARDS_TIMEOUT_S, "requests afterwards")
            finally:
                for line in timeline(scene.load.visits, scene.notes):
                    logger.info("  %s", line)
        self.requests += len(everybody.visits)
        self.late_s = max(self.late_s, everybody.late_s)
        failures, retried = len(everybody.failures()), everybody.retried()
        # Only the death of a gateway may cost a second try; elsewhere who has to ask again has been failed.
        lost = failures if fault.kills_gateway else failures + retried
        figures = (lost, everybody.slowest_s(), everybody.outage_s, retried)
        return dict(zip(cases.figures(fault), figures, strict=True))
