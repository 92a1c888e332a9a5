"""A row of the report: what it compares with what, and the goal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.bench.goals import Goal
from tests.bench.samples import Source, Summary

KTPY = "ktpy"


@dataclass(frozen=True, slots=True)
class Spec:
    """One row. Its name says what ktpy's figure is; a suffix tells rows of the same figure apart."""

    figure: str
    unit: str
    baseline: Source | None = None
    goal: Goal | None = None
    suffix: str = ""
    is_worst: bool = False
    """The worst round is ktpy's figure, not the median one: somebody waited, or got no answer, in that one."""
    is_paired: bool = False
    """The ratio is the median of the rounds' own, in each of which both had their turn: what the machine does between
    two rounds is in neither."""
    on_request: bool = False
    """Measured only where a pattern asks for it: what it is compared with takes its time to be built."""

    @property
    def name(self) -> str:
        return self.figure + self.suffix

    def figure_of(self, summary: Summary) -> float:
        """What of ktpy's rounds is compared and judged."""
        return summary.most if self.is_worst else summary.median

    @property
    def sources(self) -> list[Source]:
        """What has to be measured for this row."""
        return [Source(KTPY, self.figure), *([self.baseline] if self.baseline else [])]


class UnknownRow(ValueError):
    """No row is called so."""


def select(cases: Sequence[Spec], patterns: Iterable[str]) -> list[Spec]:
    """The rows whose names match one of the patterns (as file names do), in the cases's order.

    Without a pattern all but those on request. Raises UnknownRow for a pattern that matches nothing.
    """
    wanted = list(patterns)
    if not wanted:
        return [spec for spec in cases if not spec.on_request]
    for pattern in wanted:
        if not any(fnmatchcase(spec.name, pattern) for spec in cases):
            raise UnknownRow(f"no row is called {pattern!r}; there are: {', '.join(spec.name for spec in cases)}")
    return [spec for spec in cases if any(fnmatchcase(spec.name, pattern) for pattern in wanted)]
