"""Which failures are ktpy's, and which are the machine's."""

import pytest

from tests.lab.sessions.request_log import Visit, Visits
from tests.soak.counting import BUSY_S, LOOK_BACK_S, Load, Loads, busy
from tests.soak.tally import Tally

FAILED = "TimeoutError()"
EVER = float("inf")


def load(*visits: Visit, may_fail: bool = False) -> Load:
    return Load(Visits(visits=list(visits)), Tally(), may_fail)


def counted(connect: Load, bystander: Load) -> Loads:
    return Loads({"connect": connect, "bystander": bystander}, "bystander")


def test_what_fails_while_others_are_answered_is_lost() -> None:
    loads = counted(load(Visit(50, 10, FAILED)), load(Visit(50, 0.1, "bystander"), Visit(60, 0.1, "bystander")))
    assert loads.count([], 10, EVER) == [f"connect, lost: 40.0 s, after 10.0 s: {FAILED}"]
    assert loads.tallies["connect"].lost == 1


@pytest.mark.parametrize("slow", [Visit(50, BUSY_S + 0.1, "bystander"), Visit(50, 0.1, FAILED)])
def test_what_fails_while_the_machine_has_no_time_is_excused(slow: Visit) -> None:
    loads = counted(load(Visit(50, 10, FAILED), Visit(200, 10, FAILED)), load(slow))
    assert loads.count([], 0, EVER) == [f"connect, lost: 200.0 s, after 10.0 s: {FAILED}"]
    assert (loads.tallies["connect"].excused, loads.tallies["bystander"].lost) == (1, 0)


def test_only_what_goes_over_the_link_may_fail_while_it_is_out() -> None:
    over_the_link, others = load(Visit(50, 10, FAILED), may_fail=True), load(Visit(50, 10, FAILED))
    loads = Loads({"connect": over_the_link, "mesh": others, "bystander": load()}, "bystander")
    assert loads.count([(45, 70)], 0, EVER) == [f"mesh, lost: 50.0 s, after 10.0 s: {FAILED}"]


def test_what_has_just_ended_waits_for_the_bystanders_answer() -> None:
    """Which may take as long, and tell later that the machine had no time."""
    connect, bystander = load(Visit(50, 10, FAILED)), load()
    loads = counted(connect, bystander)
    loads.count([], 0, 61 - LOOK_BACK_S)
    assert loads.tallies["connect"].sent == 0
    bystander.visits.visits.append(Visit(52, 10, FAILED))
    loads.count([], 0, 121 - LOOK_BACK_S)
    assert (loads.tallies["connect"].sent, loads.tallies["connect"].lost) == (1, 0)


def test_each_request_is_counted_once() -> None:
    connect = load(Visit(50, 0.1, "plain"))
    loads = counted(connect, load())
    for _ in range(2):
        loads.count([], 0, EVER)
    assert (loads.tallies["connect"].sent, connect.visits.visits) == (1, [])


def test_prompt_answers_tell_of_no_busy_machine() -> None:
    assert busy([Visit(1, BUSY_S - 0.1, "bystander")]) == []
