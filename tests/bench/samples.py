"""What was measured, several times over, and how it is reduced to one figure."""

import logging
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from tests.lab import LabError

RESAMPLES: Final = 500
Round = TypeVar("Round")

logger = logging.getLogger(__name__)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed (nearest rank); ValueError for none."""
    if not values:
        raise ValueError("no values, no percentile")
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure of one contender over all rounds: the noise is told, not hidden."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        return cls(statistics.median(values), min(values), max(values), len(values))

    @classmethod
    def resampled(cls, rounds: Sequence[Round], reduce: Callable[[Sequence[Round]], float]) -> "Summary":
        """What `reduce` makes of the rounds, and in place of the least and the most its 95 % interval by the bootstrap
        (Efron, 1979): each resample is of as many rounds, drawn with replacement. The same rounds give the same one."""
        random = Random(0)
        found = [reduce(random.choices(rounds, k=len(rounds))) for _ in range(RESAMPLES)]
        return cls(reduce(rounds), percentile(found, 2.5), percentile(found, 97.5), len(rounds))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number of the report comes from: this figure, of this contender."""

    contender: str
    figure: str


class Samples:
    """Every round's figures, by contender; and why there are none where there are none."""

    def __init__(self) -> None:
        self._values: dict[Source, list[float]] = defaultdict(list)
        self._settled: dict[Source, Summary] = {}
        self._failures: dict[str, None] = {}  # an ordered set

    def add(self, contender: str, figures: Mapping[str, float]) -> None:
        """The figures of one round."""
        for figure, value in figures.items():
            self._values[Source(contender, figure)].append(value)

    def settle(self, contender: str, figures: Mapping[str, Summary]) -> None:
        """Figures that were computed of all rounds together, in the place of what the rounds have."""
        self._settled |= {Source(contender, figure): summary for figure, summary in figures.items()}

    def fail(self, reason: str) -> None:
        """Something could not be measured; said once however often it happens."""
        self._failures[reason] = None

    @contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """Note a failure of `what`: it costs its own rows only."""
        try:
            yield
        except (LabError, AssertionError) as error:  # AssertionError: ktpy did not do as it was told
            logger.warning("%s: %s", what, error)
            self.fail(f"{what}: {error}")

    @property
    def failures(self) -> list[str]:
        return list(self._failures)

    def summary(self, source: Source | None) -> Summary | None:
        """None when nothing was measured there."""
        if source in self._settled:
            return self._settled[source]
        values = self._values.get(source) if source else None
        return Summary.of(values) if values else None

    def ratios(self, ours: Source, theirs: Source | None) -> Summary | None:
        """The median of each round's to the baseline's of the same one, with its 95 % interval.

        None unless both have as many, and none of the baseline's is nothing.
        """
        values = self._values.get(ours, []), self._values.get(theirs, []) if theirs else []
        if not values[0] or len(values[0]) != len(values[1]) or not all(values[1]):
            return None
        return Summary.resampled([one / other for one, other in zip(*values, strict=True)], statistics.median)

    def figures(self, contender: str, prefix: str) -> list[str]:
        """Names of this contender's figures that begin so, in the order in which they came up."""
        return [
            source.figure
            for source in self._values
            if source.contender == contender and source.figure.startswith(prefix)
        ]
