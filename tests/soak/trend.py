"""Whether a figure that was sampled again and again grows, by ways that a few odd samples do not move."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_SAMPLES = 12
"""With fewer nothing is said."""


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The median slope of all pairs (Sen 1968), y per x; up to 29 % of the points may be wild. 0 for fewer than two."""
    slopes = [
        (y2 - y1) / (x2 - x1) for index, (x1, y1) in enumerate(points) for x2, y2 in points[index + 1 :] if x2 != x1
    ]
    return statistics.median(slopes) if slopes else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """Slopes are per hour; `first` and `last` are the medians of the first and the last quarter."""

    samples: int
    first: float
    last: float
    per_hour: float
    later_per_hour: float
    """Of the second half alone: what has found its level no longer grows there."""

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> "Trend | None":
        """Of (hours, figure), by time; None where there are too few."""
        if len(points) < LEAST_SAMPLES:
            return None
        values = [y for _, y in points]
        quarter = len(values) // 4
        return cls(
            len(values),
            statistics.median(values[:quarter]),
            statistics.median(values[-quarter:]),
            theil_sen(points),
            theil_sen(points[len(points) // 2 :]),
        )

    def grows(self, tolerance_per_hour: float) -> bool:
        """By at least so much an hour, and still by half of that in the second half."""
        return self.per_hour >= tolerance_per_hour and self.later_per_hour >= tolerance_per_hour / 2
