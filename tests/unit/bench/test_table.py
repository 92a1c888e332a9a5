"""The table for people."""

import pytest

from tests.bench.goals import at_least_times, at_most
from tests.bench.rows import Row
from tests.bench.samples import Source, Summary
from tests.bench.specs import Spec
from tests.bench.table import number, render, spread


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.000"),
        (0.1234, "0.123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (6543.2, "6543"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_spread_is_told() -> None:
    assert spread(Summary(1.5, 1.0, 20.0, 3)) == "1.00..20.0"


@pytest.mark.parametrize("summary", [None, Summary(1.0, 1.0, 1.0, 1)])
def test_one_round_has_no_spread(summary: Summary | None) -> None:
    assert spread(summary) == "-"


def test_render() -> None:
    rows = [
        Row(
            Spec("speed", "GB/s", Source("k", "speed"), at_least_times(0.9), is_paired=True),
            Summary(1.0, 0.5, 2.0, 3),
            Summary(2.0, 1.0, 3.0, 3),
            Summary(0.5, 0.25, 0.75, 3),
        ),
        Row(Spec("start", "s", goal=at_most(1.5)), Summary(12.0, 12.0, 12.0, 1), None),
        Row(Spec("far", "GB/s", Source("ktpy", "speed")), None, None),
    ]
    ratio = "ratio  spread        "
    assert render(rows) == (
        f"row    unit  ktpy  spread       baseline  spread      of          {ratio}goal               met\n"
        "speed  GB/s  1.00  0.500..2.00      2.00  1.00..3.00  k           0.500  0.250..0.750  >= 0.9 x baseline  NO\n"
        "start  s     12.0  -                   -  -           -               -  -             <= 1.5 s           NO\n"
        "far    GB/s     -  -                   -  -           ktpy speed      -  -             -                  -"
    )
