"""What is said at the end: which figures grow, which requests were lost, which sessions ended by themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tests.soak.samples import Sample, Series
from tests.soak.tally import Tally
from tests.soak.trend import Trend

TOLERANCE_PER_HOUR = 1.0
"""MB (10^6 bytes) of anonymous memory, or so many descriptors, threads, processes, flows, objects."""
NOT_JUDGED = frozenset({"rss_mb", "pss_mb"})
"""They have pages of files, too, which the kernel takes away and gives back, and others share."""


class State(StrEnum):
    """What a figure does."""

    FLAT = "flat"
    GROWS = "grows"
    TOO_SHORT = "too short to say"


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of one of whom samples were taken."""

    series: Series
    state: State
    trend: Trend | None

    def as_json(self) -> dict[str, Any]:
        trend = asdict(self.trend) if self.trend else None
        return {"who": self.series.who, "figure": self.series.figure, "state": self.state, "trend": trend}


def judged(series: Series, points: Sequence[tuple[float, float]]) -> Finding:
    """Of (hours, figure)."""
    trend = Trend.of(points)
    if trend is None:
        return Finding(series, State.TOO_SHORT, None)
    grows = trend.grows(TOLERANCE_PER_HOUR)
    return Finding(series, State.GROWS if grows else State.FLAT, trend)


@dataclass(frozen=True, slots=True)
class Verdict:
    findings: Sequence[Finding]
    tallies: Mapping[str, Tally]
    ended: Sequence[str]
    """Sessions that ended by themselves, steps that went wrong, and what was left behind; in sentences."""

    @classmethod
    def of(
        cls, samples: Sequence[Sample], warm_up_s: float, tallies: Mapping[str, Tally], ended: Sequence[str]
    ) -> "Verdict":
        """What was sampled within the first `warm_up_s` does not count."""
        points: dict[Series, list[tuple[float, float]]] = {}
        for sample in samples:
            if sample.series.figure not in NOT_JUDGED and sample.at_s >= warm_up_s:
                points.setdefault(sample.series, []).append((sample.at_s / 3600, sample.value))
        return cls([judged(series, found) for series, found in points.items()], tallies, ended)

    def growing(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.state is State.GROWS]

    def lost(self) -> int:
        """Requests that failed while nothing excused it."""
        return sum(tally.lost for tally in self.tallies.values())

    @property
    def is_good(self) -> bool:
        return not (self.growing() or self.lost() or self.ended)

    def sentence(self) -> str:
        """What all of it comes to."""
        found = []
        if growing := self.growing():
            found.append(f"{len(growing)} of {len(self.findings)} figures grow")
        if lost := self.lost():
            found.append(f"{lost} requests were lost")
        if self.ended:
            found.append(f"{len(self.ended)} things went wrong")
        if found:
            return "Not flat: " + ", ".join(found) + "."
        if not any(finding.state is State.FLAT for finding in self.findings):
            return "Too short to say what grows; no request was lost."
        return f"All {len(self.findings)} figures are flat, and no request was lost."

    def as_json(self) -> dict[str, Any]:
        return {
            "is_good": self.is_good,
            "verdict": self.sentence(),
            "figures": [finding.as_json() for finding in self.findings],
            "requests": {name: tally.as_json() for name, tally in self.tallies.items()},
            "wrong": list(self.ended),
        }
