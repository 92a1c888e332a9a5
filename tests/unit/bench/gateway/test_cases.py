"""Which rows `scripts/bench gateway` has."""

from tests.bench.gateway import measurements
from tests.bench.gateway.cases import (
    ADDED,
    FIRST_REQUEST,
    FIRST_REQUEST_KEPT,
    GATEWAY,
    IMAGE,
    MEMORY,
    MEMORY_OF_ONE,
    READY,
    WATCH_CPU,
    WATCH_LOST,
    WATCH_PERCENTS,
    differences,
    figures,
    watched,
)
from tests.bench.gateway.faults import FAULTS
from tests.bench.goals import at_most


def test_no_two_rows_have_one_name() -> None:
    names = [spec.name for spec in GATEWAY]
    assert len(set(names)) == len(names)


def test_every_row_can_be_measured() -> None:
    measured = {FIRST_REQUEST, FIRST_REQUEST_KEPT, READY, MEMORY, MEMORY_OF_ONE, IMAGE}
    measured |= {watched(percent) + more for percent in WATCH_PERCENTS for more in ("", ADDED)}
    measured |= {WATCH_CPU, WATCH_LOST}
    measured |= {figure for kind in measurements.OF_OTHERS for figure in kind.figures}
    measured |= {figure for fault in FAULTS for figure in figures(fault)}
    assert {source.figure for spec in GATEWAY for source in spec.sources} <= measured


def test_what_may_fail_when_the_gateway_itself_dies_and_nothing_else() -> None:
    for fault in FAULTS:
        goals = {spec.name: spec.goal for spec in GATEWAY if spec.figure in figures(fault)}
        if "pod-" in fault.name or "container-" in fault.name:
            assert set(goals) == set(figures(fault))  # how long the outage takes, too
            most = at_most(40 if fault.name == "container-killed" else 0)
            assert [goals[name] for name in figures(fault)] == [most, None, None, None]
        else:
            assert len(goals) == 2
            assert None not in goals.values()


def test_what_the_gateway_adds_is_a_difference_of_times_only() -> None:
    added = differences({"others-new-p50": 3.0, "others-rate": 10.0}, {"others-new-p50": 1.0, "others-rate": 20.0})
    assert added == {"others-new-p50-added": 2.0}
