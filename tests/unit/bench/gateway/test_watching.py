"""What is made of spans that were watched and of those beside them."""

import pytest

from tests.bench.gateway.cases import ADDED, UNWATCHED, WATCH_CPU, WATCH_LOST, watched
from tests.bench.gateway.watching import Pair, Span, settle
from tests.bench.samples import Samples, Source
from tests.bench.specs import KTPY

BUSY = 1.5


def span(took_ms: float, *, others: float = 0.1, cpu_s: float = 0.1, lost: int = 0) -> Span:
    """Of a hundred requests, one of which takes ten times as long."""
    return Span(0.0, 1.0, cpu_s, others, lost, [took_ms] * 98 + [took_ms * 10] * 2)


def test_the_half_counts_in_which_others_had_least_and_nothing_lost_is_left_out() -> None:
    quiet = [Pair(span(2.0, cpu_s=0.3), span(1.0))] * 3
    busy = [Pair(span(50.0, others=BUSY), span(1.0)), Pair(span(1.0, lost=2), span(70.0, others=BUSY))]
    samples = Samples()
    told = settle(samples, [*busy, *quiet])

    def figure(name: str, contender: str = KTPY) -> float:
        found = samples.summary(Source(contender, name))
        assert found is not None
        return found.median

    assert (figure(watched(50)), figure(watched(50), UNWATCHED), figure(watched(50) + ADDED)) == (2.0, 1.0, 1.0)
    assert (figure(watched(99)), figure(watched(99), UNWATCHED), figure(watched(99) + ADDED)) == (20.0, 10.0, 10.0)
    assert figure(WATCH_CPU) == pytest.approx(3.0)
    assert figure(WATCH_CPU, UNWATCHED) == pytest.approx(1.0)
    assert figure(WATCH_LOST) == 2
    assert told.startswith("watch-p*: 3 of 5 pairs of spans count")
    assert "300 requests watched and 300 not" in told


def test_how_sure_it_is_is_told_by_pairs() -> None:
    samples = Samples()
    settle(samples, [Pair(span(2.0 + number), span(2.0)) for number in range(4)])
    added = samples.summary(Source(KTPY, watched(50) + ADDED))
    assert added is not None
    assert added.least == 0.0
    assert added.least < added.most <= 1.0
