"""What `ktpy watch` costs requests: of one exchange under one load, watched spans and others by turns.

What one request more or less waits is mostly the machine's doing, and a percentile of a few hundred is chance. So many
short spans are put together, each beside one of the other kind; of these pairs the half counts in which others had the
least of the machine, which does not depend on what was measured.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.bench import others, processor
from tests.bench.background import Background, background
from tests.bench.errors import BenchError
from tests.bench.gateway.cases import ADDED, UNWATCHED, WATCH_CPU, WATCH_LOST, WATCH_PERCENTS, watched
from tests.bench.gateway.load import Load, steady_load
from tests.bench.gateway.scenario import Scenario
from tests.bench.gateway.target import WEB
from tests.bench.load.steady import path_of
from tests.bench.samples import Samples, Summary, percentile
from tests.bench.specs import KTPY
from tests.lab.sessions.connect import USER
from tests.lab.sessions.request_log import until_asked

PAIRS: Final = 10
"""Of a round."""
SETTLED_AFTER_S: Final = 1.0
"""`ktpy watch` has begun, or ended."""
IN_FLIGHT: Final = 60
"""So many requests later, those that were under way are over."""
BEGUN_TIMEOUT_S, SHOWN_TIMEOUT_S, SHOWN_POLL_S = 60.0, 5.0, 0.1
WATCH: Final = ("ktpy", "watch", WEB, "--plain", "--output", "json")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Span:
    """A Span is a few seconds of the load, on the machine's monotonic clock."""

    began_s: float
    ended_s: float
    cpu_s: float
    """Processor seconds of the session."""
    others: float
    """How many processors others have used."""
    lost: int
    """Requests that `ktpy watch` has not shown."""
    took_ms: Sequence[float] = ()
    """Of each request, from when it was begun."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A Pair is two spans right after one another, in either order."""

    watched: Span
    unwatched: Span

    @property
    def others(self) -> float:
        return max(self.watched.others, self.unwatched.others)


def measure(scene: Scenario, duration_s: float) -> list[Pair]:
    """One round: PAIRS pairs of spans of so many seconds, without those in which the machine was too busy to begin."""
    pid = int(scene.exchange.wait_ready()["pid"])
    pairs: list[dict[bool, Span]] = []
    with steady_load(scene.target) as load:
        until_asked(load, 1)
        for number in range(PAIRS):
            order = (number % 2 == 1, number % 2 == 0)
            try:
                pairs.append({way: _span(scene, load, pid, duration_s, is_watched=way) for way in order})
            except BenchError as error:
                logger.warning("a pair is left out: %s", error)
    if failed := load.failures():
        raise BenchError(f"{len(failed)} requests of {len(load.visits)} had no answer: {failed[0].answer}")
    return [Pair(*(replace(pair[way], took_ms=_took_ms(load, pair[way])) for way in (True, False))) for pair in pairs]


def _took_ms(load: Load, span: Span) -> list[float]:
    """From when each began: that it began late is the load's own doing."""
    return [
        (visit.took_s - visit.late_s) * 1000 for visit in load.visits if span.began_s <= visit.began_s < span.ended_s
    ]


def _span(scene: Scenario, load: Load, pid: int, duration_s: float, *, is_watched: bool) -> Span:
    with ExitStack() as stack:
        watch = None
        if is_watched:
            watch = stack.enter_context(background(scene.lab, WATCH, user=USER))
            watch.wait_for('"kind": "watching"', timeout_s=BEGUN_TIMEOUT_S)
        time.sleep(SETTLED_AFTER_S)
        first, spent_s, began_s = len(load.visits), _spent_s(scene, pid), time.monotonic()
        time.sleep(duration_s)
        ended_s = time.monotonic()
        cpu_s, others_s = (now - then for now, then in zip(_spent_s(scene, pid), spent_s, strict=True))
        until_asked(load, IN_FLIGHT)
        made = [visit.began_s for visit in load.visits[first:] if began_s <= visit.began_s < ended_s]
        lost = _lost(watch, Counter(map(path_of, made))) if watch else 0
    return Span(began_s, ended_s, cpu_s, others_s / (ended_s - began_s), lost)


def _spent_s(scene: Scenario, pid: int) -> tuple[float, float]:
    """Processor seconds of the session, and of others."""
    return processor.seconds_of(Path(f"/proc/{pid}/stat").read_text()), others.seconds(scene.lab)


def _lost(watch: Background, made: Counter[str]) -> int:
    """How many of these requests it does not show, soon."""
    deadline_s, lost = time.monotonic() + SHOWN_TIMEOUT_S, made
    while lost and time.monotonic() < deadline_s:
        time.sleep(SHOWN_POLL_S)
        whole, _, _ = watch.output.rpartition("\n")
        lost = made - Counter(json.loads(line).get("path") for line in whole.splitlines())
    return lost.total()


def settle(samples: Samples, pairs: Sequence[Pair]) -> str:
    """Settle the figures of all rounds; return what else is to be said of them. BenchError: there is no pair."""
    if not pairs:
        raise BenchError("the machine was too busy")
    quiet = sorted(pairs, key=lambda pair: pair.others)[: (len(pairs) + 1) // 2]
    for percent in WATCH_PERCENTS:
        figure, with_it, without = watched(percent), _figure(percent, "watched"), _figure(percent, "unwatched")

        def added(some: Sequence[Pair], with_it: Reduce = with_it, without: Reduce = without) -> float:
            return with_it(some) - without(some)

        samples.settle(
            KTPY, {figure: Summary.resampled(quiet, with_it), figure + ADDED: Summary.resampled(quiet, added)}
        )
        samples.settle(UNWATCHED, {figure: Summary.resampled(quiet, without)})
    for contender, way in ((KTPY, "watched"), (UNWATCHED, "unwatched")):
        for pair in pairs:
            span: Span = getattr(pair, way)
            samples.add(contender, {WATCH_CPU: span.cpu_s * 1000 / len(span.took_ms)})
    samples.add(KTPY, {WATCH_LOST: sum(pair.watched.lost for pair in pairs)})
    return (
        f"watch-p*: {len(quiet)} of {len(pairs)} pairs of spans count, in which others had at most"
        f" {quiet[-1].others:.2f} processors ({max(pair.others for pair in pairs):.2f} in all), with"
        f" {sum(len(pair.watched.took_ms) for pair in quiet)} requests watched and"
        f" {sum(len(pair.unwatched.took_ms) for pair in quiet)} not; their spreads are 95 % intervals"
    )


Reduce = Callable[[Sequence[Pair]], float]


def _figure(percent: int, way: str) -> Reduce:
    return lambda some: percentile([took for pair in some for took in getattr(pair, way).took_ms], percent)
