"""Rows from samples."""

from dataclasses import replace

import pytest

from tests.bench.cases import FIRST_BYTE
from tests.bench.goals import at_least_times, at_most
from tests.bench.rows import Row, build
from tests.bench.samples import Samples, Source
from tests.bench.specs import KTPY, Spec

SPEED = Spec("speed", "Gbit/s", Source("other", "speed"), at_least_times(0.9))


def one(spec: Spec, samples: Samples) -> Row:
    [row] = build([spec], samples)
    return row


@pytest.fixture
def samples() -> Samples:
    samples = Samples()
    for ours, theirs in ((1.0, 4.0), (3.0, 2.0), (1.23456, 2.0)):
        samples.add(KTPY, {"speed": ours})
        samples.add("other", {"speed": theirs})
    return samples


def test_a_row_compares_medians(samples: Samples) -> None:
    assert one(SPEED, samples).as_json() == {
        "row": "speed",
        "unit": "Gbit/s",
        "ktpy": 1.235,
        "baseline": 2.0,
        "ratio": 0.6173,
        "ratios": None,
        "goal": ">= 0.9 x baseline",
        "met": False,
    }


def test_a_paired_row_is_judged_by_the_rounds_own_ratios(samples: Samples) -> None:
    row = one(replace(SPEED, is_paired=True), samples)
    assert (row.ratio, row.met) == (0.61728, False)
    assert row.as_json()["ratios"] == [0.25, 1.5]


def test_a_paired_row_whose_baseline_lacks_a_round_is_left_open(samples: Samples) -> None:
    samples.add(KTPY, {"speed": 1.0})
    assert one(replace(SPEED, is_paired=True), samples).met is None


def test_a_row_without_goal_is_not_judged(samples: Samples) -> None:
    row = one(Spec("speed", "Gbit/s", Source("other", "speed"), suffix="-other"), samples)
    assert (row.as_json()["row"], row.as_json()["goal"], row.met) == ("speed-other", None, None)


def test_a_row_without_baseline_is_judged_by_itself(samples: Samples) -> None:
    row = one(Spec("speed", "s", goal=at_most(2)), samples)
    assert (row.baseline, row.ratio, row.met, row.complete) == (None, None, True, True)


def test_the_worst_round_is_compared_and_judged_where_that_counts(samples: Samples) -> None:
    row = one(Spec("speed", "s", Source("other", "speed"), at_most(2), is_worst=True), samples)
    assert (row.figure, row.ratio, row.met) == (3.0, 1.5, False)


def test_a_baseline_that_failed_leaves_the_row_open() -> None:
    samples = Samples()
    samples.add(KTPY, {"speed": 1.0})
    row = one(SPEED, samples)
    assert (row.ratio, row.met, row.complete) == (None, None, False)


def test_a_failed_row_has_only_nulls(samples: Samples) -> None:
    row = one(Spec("absent", "s", goal=at_most(1)), samples)
    assert not row.complete
    assert row.as_json() == {
        "row": "absent",
        "unit": "s",
        "ktpy": None,
        "baseline": None,
        "ratio": None,
        "ratios": None,
        "goal": "<= 1 s",
        "met": None,
    }


def test_a_baseline_of_nothing_gives_no_ratio() -> None:
    samples = Samples()
    samples.add(KTPY, {"speed": 1.0})
    samples.add("other", {"speed": 0.0})
    assert one(SPEED, samples).ratio is None


def test_the_parts_of_the_first_byte_follow_it_in_time() -> None:
    samples = Samples()
    samples.add(KTPY, {FIRST_BYTE: 1.0, "first-byte/ssh": 0.8, "first-byte/cluster": 0.3, "speed": 2.0})
    rows = build([Spec(FIRST_BYTE, "s", goal=at_most(1.5)), Spec("speed", "Gbit/s")], samples)
    assert [row.spec.name for row in rows] == ["first-byte", "first-byte/cluster", "first-byte/ssh", "speed"]
    assert [row.met for row in rows] == [True, None, None, None]


def test_the_parts_of_a_baseline_stand_beside_ours() -> None:
    samples = Samples()
    samples.add(KTPY, {"cpu": 4.0, "cpu/helper": 0.1, "cpu/sshd": 2.0})
    samples.add("other", {"cpu": 2.0, "cpu/sshd": 1.0})
    rows = build([Spec("cpu", "s/GB", Source("other", "cpu")), Spec("cpu", "s/GB", suffix="-more")], samples)
    assert [(row.spec.name, row.ratio) for row in rows] == [
        ("cpu", 2.0),
        ("cpu/helper", None),
        ("cpu/sshd", 2.0),
        ("cpu-more", None),
    ]
    assert all(row.complete for row in rows)
