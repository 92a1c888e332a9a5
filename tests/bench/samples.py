"""What was measured, several times over, and how it is reduced to one figure."""

import logging
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab import LabError

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


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number of the report comes from: this figure, of this contender."""

    contender: str
    figure: str


class Samples:
    """Every round's figures, by contender; and why there are none where there are none."""

    def __init__(self) -> None:
        self._values: dict[Source, list[float]] = defaultdict(list)
        self._failures: dict[str, None] = {}  # an ordered set

    def add(self, contender: str, figures: Mapping[str, float]) -> None:
        """The figures of one round."""
        for figure, value in figures.items():
            self._values[Source(contender, figure)].append(value)

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
        values = self._values.get(source) if source else None
        return Summary.of(values) if values else None

    def figures(self, contender: str, prefix: str) -> list[str]:
        """Names of this contender's figures that begin so, in the order in which they came up."""
        return [
            source.figure
            for source in self._values
            if source.contender == contender and source.figure.startswith(prefix)
        ]
