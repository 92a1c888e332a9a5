"""Which requests count as lost."""

import pytest

from tests.lab.sessions.request_log import Visit
from tests.soak.tally import TOLD, Tally

OUTAGE = (100.0, 120.0)


def test_answers_are_counted_and_the_longest_is_kept() -> None:
    tally = Tally("local")
    tally.add([Visit(1, 0.2, "local"), Visit(2, 0.5, "web")], [])
    tally.add([Visit(3, 0.1, "local")], [])
    assert (tally.sent, tally.failed, tally.elsewhere, tally.longest_s) == (3, 0, 1, 0.5)


@pytest.mark.parametrize(
    ("began_s", "took_s", "lost"),
    [(99, 0.5, 1), (99, 1.5, 0), (110, 1, 0), (119, 30, 0), (121, 1, 1)],
)
def test_a_failure_is_excused_where_it_overlaps_an_outage(began_s: float, took_s: float, lost: int) -> None:
    tally = Tally()
    tally.add([Visit(began_s, took_s, "TimeoutError()")], [OUTAGE])
    assert (tally.failed, tally.lost) == (1, lost)


def test_a_load_that_no_outage_may_hurt_has_no_excuse() -> None:
    tally = Tally()
    tally.add([Visit(110, 1, "TimeoutError()")], [])
    assert tally.lost == 1


def test_what_was_lost_is_told_but_not_for_ever() -> None:
    tally = Tally()
    tally.add([Visit(107, 2, "ConnectionResetError()")] * (TOLD + 5), [], began_s=100)
    assert tally.words == ["7.0 s, after 2.0 s: ConnectionResetError()"] * TOLD
    assert tally.as_json()["lost"] == TOLD + 5
