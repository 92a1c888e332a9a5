"""When a goal is met."""

import pytest

from tests.bench.goals import Goal, at_least, at_least_times, at_most, at_most_times


@pytest.mark.parametrize(
    ("goal", "figure", "ratio", "met"),
    [
        (at_most(1.5), 1.5, None, True),
        (at_most(1.5), 1.51, None, False),
        (at_least(500), 500, None, True),
        (at_least(500), 499.9, 9.0, False),
        (at_most_times(0.9), 100.0, 0.9, True),
        (at_most_times(0.9), 0.1, 0.91, False),
        (at_least_times(0.8), 0.1, 0.8, True),
        (at_least_times(0.8), 100.0, 0.79, False),
    ],
)
def test_met(goal: Goal, figure: float, ratio: float | None, met: bool) -> None:
    assert goal.met(figure, ratio) is met


def test_without_a_baseline_a_ratio_cannot_be_judged() -> None:
    assert at_most_times(0.9).met(1.0, None) is None


def test_without_a_figure_nothing_can_be_judged() -> None:
    assert at_most(2).met(None, None) is None


@pytest.mark.parametrize(
    ("goal", "text"),
    [(at_most(1.5), "<= 1.5 s"), (at_least(5000), ">= 5000 s"), (at_least_times(6), ">= 6 x baseline")],
)
def test_text(goal: Goal, text: str) -> None:
    assert goal.text("s") == text
