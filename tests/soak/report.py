"""The verdict as a table, and the line of each minute."""

from collections.abc import Mapping, Sequence

from tests.soak.samples import Sample
from tests.soak.tally import Tally
from tests.soak.verdict import Finding, State, Verdict

SHOWN = ("anonymous_mb", "descriptors")
"""Of the sessions on the laptop; of all else what grows is shown."""


def progress(minute: int, minutes: int, samples: Sequence[Sample], tallies: Mapping[str, Tally]) -> str:
    """What the last samples are."""
    figures = {(one.series.who, one.series.figure): one.value for one in samples}
    told = [
        f"{who} {figures[who, 'anonymous_mb']:.1f} MB {figures[who, 'descriptors']:.0f} fd"
        for who, figure in figures
        if figure == "anonymous_mb" and ":" not in who
    ]
    return f"{minute}/{minutes} min  {', '.join(told)}; {requests(tallies)}"


def requests(tallies: Mapping[str, Tally]) -> str:
    """All loads together."""
    total = tallies.values()
    sent, failed, lost = (sum(getattr(one, count) for one in total) for count in ("sent", "failed", "lost"))
    longest_s = max((one.longest_s for one in total), default=0.0)
    return f"{sent} requests, {failed} failed ({lost} lost), the longest took {longest_s:.2f} s"


def table(verdict: Verdict) -> str:
    shown = [
        one
        for one in verdict.findings
        if one.state is State.GROWS or (one.series.figure in SHOWN and ":" not in one.series.who)
    ]
    lines = [f"{'who':44} {'figure':14} {'first':>9} {'last':>9} {'an hour':>9}", *map(_line, shown), ""]
    lines.append(
        f"{'requests':44} {'sent':>8} {'failed':>7} {'excused':>8} {'lost':>6} {'elsewhere':>9} {'longest':>9}"
    )
    for name, one in verdict.tallies.items():
        counts = f"{one.sent:8} {one.failed:7} {one.excused:8} {one.lost:6} {one.elsewhere:9} {one.longest_s:7.2f} s"
        lines += [f"{name:44} {counts}", *(f"  lost at {word}" for word in one.words)]
    return "\n".join([*lines, "", *verdict.ended, verdict.sentence()])


def _line(finding: Finding) -> str:
    name = f"{finding.series.who:44} {finding.series.figure:14}"
    if finding.trend is None:
        return f"{name} {finding.state}"
    figures = f"{finding.trend.first:9.1f} {finding.trend.last:9.1f} {finding.trend.per_hour:+9.2f}"
    return f"{name} {figures}{'  GROWS' if finding.state is State.GROWS else ''}"
