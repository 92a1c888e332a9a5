"""Medians, spreads and percentiles."""

import statistics

import pytest

from tests.bench.errors import BenchError
from tests.bench.samples import Samples, Source, Summary, percentile
from tests.lab import LabError


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 201)], 99, 198.0),
        ([1.0, 2.0], 100, 2.0),
        ([1.0, 2.0], 0, 1.0),
    ],
)
def test_percentile_is_a_value_that_was_measured(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_summary_tells_the_spread() -> None:
    assert Summary.of([3.0, 1.0, 10.0]) == Summary(median=3.0, least=1.0, most=10.0, rounds=3)


def test_samples_are_kept_by_contender_and_figure() -> None:
    samples = Samples()
    samples.add("ktpy", {"p50": 1.0, "p99": 5.0})
    samples.add("ktpy", {"p50": 2.0, "p99": 6.0})
    samples.add("other", {"p50": 9.0})
    assert samples.summary(Source("ktpy", "p50")) == Summary(1.5, 1.0, 2.0, 2)
    assert samples.summary(Source("other", "p50")) == Summary(9.0, 9.0, 9.0, 1)


def test_what_was_not_measured_has_no_summary() -> None:
    assert Samples().summary(Source("ktpy", "p50")) is None
    assert Samples().summary(None) is None


def test_asking_for_a_summary_invents_no_figure() -> None:
    samples = Samples()
    samples.summary(Source("ktpy", "first-byte/ssh"))
    assert samples.figures("ktpy", "first-byte/") == []


def test_figures_by_prefix_in_their_order() -> None:
    samples = Samples()
    samples.add("ktpy", {"first-byte": 3.0, "first-byte/ssh": 2.0, "first-byte/dns": 1.0})
    samples.add("other", {"first-byte/none": 1.0})
    assert samples.figures("ktpy", "first-byte/") == ["first-byte/ssh", "first-byte/dns"]


def test_the_same_failure_is_said_once() -> None:
    samples = Samples()
    for reason in ("b", "a", "b"):
        samples.fail(reason)
    assert samples.failures == ["b", "a"]


@pytest.mark.parametrize("error", [BenchError("no pod"), LabError("no pod"), AssertionError("no pod")])
def test_a_failure_is_noted_and_what_comes_after_goes_on(error: Exception) -> None:
    samples = Samples()
    with samples.reporting("ready"):
        raise error
    assert samples.failures == ["ready: no pod"]


def test_an_error_of_the_program_is_not_taken_for_a_failed_measurement() -> None:
    samples = Samples()
    with pytest.raises(ValueError, match="a bug"), samples.reporting("ready"):
        raise ValueError("a bug")
    assert samples.failures == []


def test_a_resampled_summary_has_an_interval_that_narrows_with_the_rounds() -> None:
    few, many = (Summary.resampled(list(range(count)) * times, statistics.mean) for count, times in ((10, 1), (10, 30)))
    assert few.median == many.median == 4.5
    assert few.least < many.least < 4.5 < many.most < few.most
    assert (few.rounds, many.rounds) == (10, 300)


def test_what_is_settled_counts_more_than_rounds() -> None:
    samples = Samples()
    samples.add("ktpy", {"p99": 3.0})
    samples.settle("ktpy", {"p99": Summary(2.0, 1.0, 3.0, 9)})
    assert samples.summary(Source("ktpy", "p99")) == Summary(2.0, 1.0, 3.0, 9)


def test_ratios_are_of_rounds_and_of_nothing_but_whole_pairs() -> None:
    samples, sources = Samples(), (Source("ktpy", "rate"), Source("other", "rate"))
    assert samples.ratios(*sources) is None
    for ours, theirs in ((1.0, 1.0), (30.0, 20.0), (400.0, 200.0)):
        samples.add("ktpy", {"rate": ours})
        samples.add("other", {"rate": theirs})
    assert samples.ratios(*sources) == Summary(1.5, 1.0, 2.0, 3)
    samples.add("ktpy", {"rate": 1.0})
    assert samples.ratios(*sources) is None
    samples.add("other", {"rate": 0.0})
    assert samples.ratios(*sources) is None
