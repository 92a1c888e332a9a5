"""Which rows `scripts/bench connect` has."""

from tests.bench import many_services, measurements, up_again
from tests.bench.cases import (
    AGAINST,
    BROKEN,
    CONNECT,
    FIRST_BYTE,
    FORWARD,
    IN_RUN,
    KEEPING,
    LINES,
    PEER,
    RUN_GOALS,
    RUN_STARTS,
    TELEPRESENCE,
    VIA,
    against,
)
from tests.bench.specs import KTPY, select


def test_no_two_rows_have_one_name() -> None:
    names = [spec.name for spec in CONNECT]
    assert len(set(names)) == len(names)


def test_every_row_can_be_measured() -> None:
    phases = [measurements.STRAIGHT, *map(measurements.over, LINES)]
    measured = {figure for phase in phases for measurement in phase for figure in measurement.figures}
    measured |= {
        prefix + figure
        for prefix in (KEEPING, VIA)
        for measurement in measurements.KEEPING
        for figure in measurement.figures
        if not figure.endswith("p99")
    }
    measured |= {
        FORWARD + figure
        for measurement in measurements.KEEPING
        for figure in measurement.figures[:1]
        if not figure.endswith("p99")
    } | {BROKEN}
    of_the_peer = {PEER + figure for one in measurements.BESIDE_A_PEER for figure in one.figures}
    measured |= of_the_peer - {PEER + "sleep-busy-p99", PEER + "cpu-1-down"}  # the machine's, and ktpy's alone
    measured |= {IN_RUN + name for name in ("http-new-p50", "http-kept-p50", "throughput-1-down", "throughput-1-up")}
    measured |= {way + name for way in RUN_STARTS for name in RUN_GOALS}
    wanted = {source.figure for spec in CONNECT for source in spec.sources}
    assert wanted == measured | {
        FIRST_BYTE,
        up_again.FIGURE,
        many_services.FIGURE,
        many_services.HELD,
        many_services.GROWN,
    }


def test_a_row_at_latency_needs_the_figure_without() -> None:
    [spec] = select(CONNECT, ["throughput-8-down-80ms"])
    assert [(source.contender, source.figure) for source in spec.sources] == [
        (KTPY, "throughput-8-down-80ms"),
        (KTPY, "throughput-8-down"),
    ]


def test_only_what_stands_beside_telepresence_waits_to_be_asked_for() -> None:
    of_the_peer = [spec.name for spec in CONNECT if spec.baseline and spec.baseline.contender == TELEPRESENCE]
    assert [spec.name for spec in CONNECT if spec.on_request] == of_the_peer
    assert [spec.name for spec in select(CONNECT, [f"{PEER}*"])] == of_the_peer


def test_each_figure_is_compared_with_another_revisions_once() -> None:
    rows = against(
        select(CONNECT, ["first-byte", "connections*", "keep/*", "run*", "forward/*", f"{PEER}*", "up-again"])
    )
    assert [(row.name, row.baseline.contender) for row in rows if row.suffix == "-against" and row.baseline] == [
        ("connections-against", AGAINST)
    ]
