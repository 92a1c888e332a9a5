"""Whether figures that grow are told from those that are only noisy, or have found their level."""

import random

import pytest

from tests.soak.trend import LEAST_SAMPLES, Trend, theil_sen

MINUTES = [minute / 60 for minute in range(100)]


def trend(*values: float) -> Trend:
    found = Trend.of(list(zip(MINUTES, values, strict=False)))
    assert found is not None
    return found


def noise(amount: float) -> list[float]:
    generator = random.Random(7)
    return [generator.uniform(-amount, amount) for _ in MINUTES]


def test_the_slope_of_a_line_is_found_whatever_a_quarter_of_the_points_are() -> None:
    points = [(x, 2 * x + 1) for x in MINUTES]
    points[::4] = [(x, 1000.0) for x, _ in points[::4]]
    assert theil_sen(points) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("points", [[], [(1.0, 5.0)], [(1.0, 5.0), (1.0, 9.0)]])
def test_where_there_is_no_pair_there_is_no_slope(points: list[tuple[float, float]]) -> None:
    assert theil_sen(points) == 0


def test_of_too_few_samples_nothing_is_said() -> None:
    assert Trend.of([(x, 1.0) for x in MINUTES[: LEAST_SAMPLES - 1]]) is None


def test_a_leak_grows_also_under_noise() -> None:
    leak = [70 + 2 * x + wild for x, wild in zip(MINUTES, noise(2), strict=True)]
    assert trend(*leak).grows(1.0)


def test_noise_alone_does_not_grow() -> None:
    assert not trend(*(70 + wild for wild in noise(5))).grows(1.0)


def test_what_grew_once_and_has_found_its_level_does_not_grow() -> None:
    """As a cache that is full, or a connection more."""
    assert not trend(*(min(70 + 20 * x, 85) for x in MINUTES)).grows(1.0)


def test_what_is_given_back_again_and_again_does_not_grow() -> None:
    assert not trend(*(70 + minute % 15 for minute in range(100))).grows(1.0)


def test_a_descriptor_that_is_left_every_half_hour_grows() -> None:
    assert trend(*(30 + minute // 30 for minute in range(100))).grows(1.0)


def test_its_ends_are_the_medians_of_the_outer_quarters() -> None:
    found = trend(*(float(minute) for minute in range(100)))
    assert (found.first, found.last) == (12.0, 87.0)
    assert found.per_hour == pytest.approx(60)
