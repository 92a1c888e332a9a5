"""The report as a table for people."""

from collections.abc import Sequence

from tests.bench.rows import Row
from tests.bench.samples import Summary

HEADINGS = ("row", "unit", "ktpy", "spread", "baseline", "spread", "of", "ratio", "spread", "goal", "met")
RIGHT = {2, 4, 7}  # numbers
NOTHING = "-"


def number(value: float | None) -> str:
    """Three digits; a median of a few rounds knows no more."""
    if value is None:
        return NOTHING
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def spread(summary: Summary | None) -> str:
    """The least and the most of all rounds."""
    if summary is None or summary.rounds == 1:
        return NOTHING
    return f"{number(summary.least)}..{number(summary.most)}"


def render(rows: Sequence[Row]) -> str:
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    spec = row.spec
    return (
        spec.name,
        spec.unit,
        number(row.figure),
        spread(row.ktpy),
        number(row.baseline.median if row.baseline else None),
        spread(row.baseline),
        _baseline_name(row),
        number(row.ratio),
        spread(row.ratios),
        spec.goal.text(spec.unit) if spec.goal else NOTHING,
        {True: "yes", False: "NO", None: NOTHING}[row.met],
    )


def _baseline_name(row: Row) -> str:
    """A baseline that is another figure is named by that figure."""
    baseline = row.spec.baseline
    if baseline is None:
        return NOTHING
    return baseline.contender if baseline.figure == row.spec.figure else f"{baseline.contender} {baseline.figure}"
