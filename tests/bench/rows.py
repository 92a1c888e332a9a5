"""The rows of the report, from samples."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.bench.cases import PART_SEPARATOR
from tests.bench.samples import Samples, Source, Summary
from tests.bench.specs import KTPY, Spec

DIGITS = 4  # what a median of a few rounds can carry


@dataclass(frozen=True, slots=True)
class Row:
    spec: Spec
    ktpy: Summary | None
    baseline: Summary | None
    ratios: Summary | None = None
    """Of the rounds, where the spec is paired."""

    @property
    def figure(self) -> float | None:
        """ktpy's."""
        return self.spec.figure_of(self.ktpy) if self.ktpy else None

    @property
    def ratio(self) -> float | None:
        """ktpy's figure over the baseline's median, or the median of the rounds' ratios."""
        if self.spec.is_paired:
            return self.ratios.median if self.ratios else None
        if self.figure is None or self.baseline is None or not self.baseline.median:
            return None
        return self.figure / self.baseline.median

    @property
    def met(self) -> bool | None:
        """None where there is no goal, or nothing to judge."""
        if self.spec.goal is None:
            return None
        return self.spec.goal.met(self.figure, self.ratio)

    @property
    def complete(self) -> bool:
        return self.ktpy is not None and (self.spec.baseline is None or self.baseline is not None)

    def as_json(self) -> dict[str, Any]:
        return {
            "row": self.spec.name,
            "unit": self.spec.unit,
            "ktpy": _rounded(self.figure),
            "baseline": _rounded(self.baseline.median if self.baseline else None),
            "ratio": _rounded(self.ratio),
            "ratios": [_rounded(self.ratios.least), _rounded(self.ratios.most)] if self.ratios else None,
            "goal": self.spec.goal.text(self.spec.unit) if self.spec.goal else None,
            "met": self.met,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def build(specs: Iterable[Spec], samples: Samples) -> list[Row]:
    """One row for each spec; the parts of a figure, which have no goals, follow it, the least first."""
    rows: list[Row] = []
    for spec in specs:
        ours = Source(KTPY, spec.figure)
        ratios = samples.ratios(ours, spec.baseline) if spec.is_paired else None
        rows.append(Row(spec, samples.summary(ours), samples.summary(spec.baseline), ratios))
        if not spec.suffix:
            figures = samples.figures(KTPY, spec.figure + PART_SEPARATOR)
            parts = build([Spec(figure, spec.unit, _measured(spec, figure, samples)) for figure in figures], samples)
            rows.extend(sorted(parts, key=lambda row: row.ktpy.median if row.ktpy else 0))
    return rows


def _measured(spec: Spec, figure: str, samples: Samples) -> Source | None:
    """Where the baseline of the spec has this figure, too."""
    source = Source(spec.baseline.contender, figure) if spec.baseline else None
    return source if samples.summary(source) else None
