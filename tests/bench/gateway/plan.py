"""What runs when, and what is reported of it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.gateway import catalogue, measurements
from tests.bench.gateway.catalogue import WITHOUT
from tests.bench.gateway.disturbances import DISTURBANCES, Disturbance
from tests.bench.gateway.measurements import Figures
from tests.bench.gateway.stage import meshing, stage, strike
from tests.bench.gateway.story import tell
from tests.bench.gateway.target import BEHIND, STRAIGHT, Target
from tests.bench.gateway.visitors import crowd
from tests.bench.samples import Samples
from tests.bench.specs import KTPY, Spec
from tests.lab import Lab, LabError
from tests.lab.processes import wait_until
from tests.lab.sessions.request_log import until_answered

logger = logging.getLogger(__name__)

FIRST_REQUEST_ROUNDS = 5
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

    def all(self) -> None:
        """Whatever the wanted rows need."""
        with self._reporting("what an earlier run left"):
            strike(self.lab)
        self._rounds(
            (catalogue.FIRST_REQUEST,), FIRST_REQUEST_ROUNDS, lambda: measurements.first_request(self.lab, self.target)
        )
        self._rounds((catalogue.READY,), self.rounds, lambda: measurements.start_to_ready(self.lab))
        self._rounds((catalogue.MEMORY, catalogue.MEMORY_OF_ONE), 1, lambda: measurements.idle_memory(self.lab))
        self._rounds((catalogue.IMAGE,), 1, lambda: measurements.image(self.archive))
        self._of_others()
        for disturbance in DISTURBANCES:
            self._rounds(catalogue.figures(disturbance), self.rounds, partial(self._disturb, disturbance))

    def _wants(self, figures: Sequence[str]) -> bool:
        return any(source.figure in figures for spec in self.specs for source in spec.sources)

    def _rounds(self, figures: Sequence[str], rounds: int, take: Callable[[], Figures]) -> None:
        if not self._wants(figures):
            return
        for number in range(rounds):
            logger.info("%s, round %d of %d", ", ".join(figures), number + 1, rounds)
            with self._reporting(figures[0]):
                self.samples.add(KTPY, take())

    def _of_others(self) -> None:
        """Round by round, with and without the gateway, in turns; every other round the other way about."""
        wanted = [kind for kind in measurements.OF_OTHERS if self._wants(kind.figures)]
        if not wanted:
            return
        ways = {KTPY: self.target.cluster_ips[BEHIND], WITHOUT: self.target.cluster_ips[STRAIGHT]}
        with self._reporting("others"), meshing(self.lab, BEHIND, ways[KTPY]):
            for kind in wanted:
                for number in range(self.rounds):
                    logger.info("%s, round %d of %d", ", ".join(kind.figures), number + 1, self.rounds)
                    order = list(ways.items())[:: -1 if number % 2 else 1]
                    taken = {name: kind.take(self.target.visitors[0], host, self.duration_s) for name, host in order}
                    for name, figures in taken.items():
                        self.samples.add(name, figures)
                    self.samples.add(KTPY, catalogue.differences(taken[KTPY], taken[WITHOUT]))

    def _disturb(self, disturbance: Disturbance) -> Figures:
        """Once, while everybody else uses the service."""
        with stage(self.lab, self.target) as scene:
            disturbance.prepare(scene)
            scene.until_reached(disturbance.answers_before)
            try:
                with crowd(self.target) as everybody:
                    scene.crowd = everybody
                    until_answered(everybody, disturbance.answers_before)
                    scene.notes.clear()
                    disturbance.happen(scene)
                    enough = len(everybody.visits) + AFTERWARDS
                    wait_until(lambda: len(everybody.visits) >= enough, AFTERWARDS_TIMEOUT_S, "requests afterwards")
            finally:
                for line in tell(scene.crowd.visits, scene.notes):
                    logger.info("  %s", line)
        self.requests += len(everybody.visits)
        self.late_s = max(self.late_s, everybody.late_s)
        figures = (len(everybody.failures()), everybody.slowest_s(), everybody.outage_s)
        return dict(zip(catalogue.figures(disturbance), figures, strict=True))

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """One failure costs its own rows only."""
        try:
            yield
        except (BenchError, LabError, AssertionError) as error:  # AssertionError: ktpy did not do as it was told
            logger.warning("%s: %s", what, error)
            self.samples.fail(f"{what}: {error}")
