"""What the samples, the requests and the sessions come to."""

from collections.abc import Callable

import pytest

from tests.lab.sessions.request_log import Visit
from tests.soak.samples import Sample, Series
from tests.soak.tally import Tally
from tests.soak.verdict import State, Verdict

MEMORY = Series("connect", "anonymous_mb")


def samples(series: Series, value: Callable[[int], float], minutes: int = 120) -> list[Sample]:
    return [Sample(minute * 60.0, series, float(value(minute))) for minute in range(minutes)]


def verdict(taken: list[Sample], failures: int = 0, ended: tuple[str, ...] = ()) -> Verdict:
    tally = Tally()
    tally.add([Visit(1, 1, "OSError()")] * failures, [])
    return Verdict.of(taken, 1200.0, {"exchange": tally}, ended)


def test_what_stays_is_flat_whatever_it_did_before_the_warm_up_was_over() -> None:
    found = verdict(samples(MEMORY, lambda minute: min(40 + minute, 60)))
    assert [one.state for one in found.findings] == [State.FLAT]
    assert found.is_good
    assert found.sentence() == "All 1 figures are flat, and no request was lost."


@pytest.mark.parametrize(("figure", "per_minute"), [("anonymous_mb", 0.05), ("descriptors", 0.05), ("leases", 0.05)])
def test_what_grows_is_named(figure: str, per_minute: float) -> None:
    grown = Series("mesh", figure)
    found = verdict([*samples(grown, lambda minute: 50 + minute * per_minute), *samples(MEMORY, lambda _: 70)])
    assert [one.series for one in found.growing()] == [grown]
    assert not found.is_good
    assert found.sentence() == "Not flat: 1 of 2 figures grow."


@pytest.mark.parametrize("figure", ["rss_mb", "pss_mb"])
def test_memory_that_is_a_files_or_shared_is_not_judged(figure: str) -> None:
    assert verdict(samples(Series("mesh", figure), lambda minute: minute)).findings == []


def test_a_short_soak_says_that_it_is_too_short() -> None:
    found = verdict(samples(MEMORY, lambda minute: minute, minutes=25))
    assert [one.state for one in found.findings] == [State.TOO_SHORT]
    assert (found.is_good, found.sentence()) == (True, "Too short to say what grows; no request was lost.")


def test_a_lost_request_and_a_session_that_ended_are_told() -> None:
    found = verdict(samples(MEMORY, lambda _: 70), failures=2, ended=("mesh has ended with 40",))
    assert not found.is_good
    assert found.sentence() == "Not flat: 2 requests were lost, 1 things went wrong."


def test_as_json_it_has_the_figures_and_the_requests() -> None:
    document = verdict(samples(MEMORY, lambda _: 70), failures=1).as_json()
    [figure] = document["figures"]
    assert (figure["who"], figure["figure"], figure["state"], figure["trend"]["last"]) == (
        "connect",
        "anonymous_mb",
        "flat",
        70,
    )
    assert (document["is_good"], document["requests"]["exchange"]["lost"]) == (False, 1)
