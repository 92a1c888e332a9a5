"""What a sleep was late by is what it took beyond its length."""

import time

import pytest

from tests.bench.load.lateness import SLEEP_S, sleeps


def test_each_sleep_counts_what_it_took_beyond_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s, extra_s = [0.0], iter((0.0, 0.004))

    def sleep(duration_s: float) -> None:
        clock_s[0] += duration_s + next(extra_s)

    monkeypatch.setattr(time, "perf_counter", lambda: clock_s[0])
    monkeypatch.setattr(time, "sleep", sleep)
    assert sleeps(2.5 * SLEEP_S) == pytest.approx([0, 0.004])
