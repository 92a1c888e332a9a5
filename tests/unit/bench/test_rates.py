"""Throughput from timelines."""

import pytest

from tests.bench.rates import bytes_by, gigabits_per_second

STEADY = [(float(second), second * 125_000_000) for second in range(5)]  # 1 Gbit/s for 4 s


@pytest.mark.parametrize(
    ("moment_s", "expected"),
    [(-1.0, 0), (0.0, 0), (1.0, 125_000_000), (1.5, 187_500_000), (4.0, 500_000_000), (9.0, 500_000_000)],
)
def test_bytes_between_two_observations_are_in_proportion(moment_s: float, expected: float) -> None:
    assert bytes_by(STEADY, moment_s) == expected


def test_a_steady_flow() -> None:
    assert gigabits_per_second([STEADY], ramp_s=0.5, end_s=3.5) == pytest.approx(1.0)


def test_flows_add_up() -> None:
    assert gigabits_per_second([STEADY, STEADY], ramp_s=0.5, end_s=3.5) == pytest.approx(2.0)


def test_the_ramp_does_not_count() -> None:
    slow_start = [(0.0, 0), (1.0, 0), (2.0, 125_000_000), (3.0, 250_000_000)]
    assert gigabits_per_second([slow_start], ramp_s=1.0, end_s=3.0) == pytest.approx(1.0)


def test_what_arrives_late_from_buffers_does_not_count() -> None:
    drained = [*STEADY, (9.0, 10_000_000_000)]
    assert gigabits_per_second([drained], ramp_s=1.0, end_s=4.0) == pytest.approx(1.0)


def test_a_flow_that_starts_late_counts_as_nothing_until_then() -> None:
    late = [(2.0, 0), (3.0, 125_000_000), (4.0, 250_000_000)]
    assert gigabits_per_second([STEADY, late], ramp_s=0.0, end_s=4.0) == pytest.approx(1.5)


def test_a_flow_that_stalls_lowers_the_rate() -> None:
    stalled = [(0.0, 0), (1.0, 125_000_000), (4.0, 125_000_000)]
    assert gigabits_per_second([stalled], ramp_s=0.0, end_s=4.0) == pytest.approx(0.25)


def test_clocks_may_begin_anywhere() -> None:
    shifted = [(moment_s + 1e6, count) for moment_s, count in STEADY]
    assert gigabits_per_second([shifted], ramp_s=0.5, end_s=3.5) == pytest.approx(1.0)


@pytest.mark.parametrize("timelines", [[], [[]]])
def test_no_flow_no_rate(timelines: list[list[tuple[float, int]]]) -> None:
    with pytest.raises(ValueError, match="no flow"):
        gigabits_per_second(timelines, ramp_s=0.5, end_s=3.0)
