"""Which cells there are, and where a command is held for one."""

import pytest

from tests.chaos.matrix import (
    CELLS,
    COMMANDS,
    FAULTS,
    STATES,
    TOLD_TO_END,
    Cell,
    Hold,
    UnknownCell,
    chosen,
    holds,
    select,
)

POINTS = [Hold("after", 1, name) for name in ("claim", "create", "redirect")]


def test_every_command_state_and_fault_has_a_cell() -> None:
    assert len({str(cell) for cell in CELLS}) == len(COMMANDS) * len(STATES) * len(FAULTS)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("exchange/ready/helper-KILL", "has no helper"),
        ("dev/starting/both-INT", "has no helper"),
        ("run/ready/detached-TERM", "has no `--detach`"),
        ("connect/ending/detached-TERM", None),
        ("run/ready/both-KILL", None),
        ("preview/ready/clock-ahead", None),
    ],
)
def test_what_does_not_go_together_says_why(name: str, why: str | None) -> None:
    [cell] = [cell for cell in CELLS if str(cell) == name]
    assert cell.why_not == why
    assert (cell in select([name])) == (why is None)


def test_cells_are_chosen_as_file_names_are() -> None:
    found = [str(cell) for cell in select(["mesh/*/main-KILL", "*/ready/cable"])]
    assert found == [*(f"mesh/{state}/main-KILL" for state in STATES), *(f"{one}/ready/cable" for one in COMMANDS)]


def test_cells_come_in_the_order_of_the_patterns_and_once() -> None:
    first, *rest = select(["*/ending/cable", "*"])
    assert str(first) == "connect/ending/cable"
    assert len(rest) + 1 == len({*rest, first}) == len([*select([])])


def test_no_pattern_means_all_that_apply() -> None:
    assert list(select([])) == [cell for cell in CELLS if cell.why_not is None]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UnknownCell, match="'exchange/redy/cable'"):
        list(select(["exchange/redy/cable"]))


def test_a_command_with_steps_is_held_after_each() -> None:
    walked = [
        Hold("told", 1, "cluster"),
        Hold("before", 1, "claim"),
        Hold("before", 1, "POST shop/leases"),
        Hold("after", 1, "POST shop/leases"),
        Hold("after", 1, "claim"),
        Hold("told", 1, "gateway"),
        Hold("before", 2, "claim"),
        Hold("after", 2, "claim"),
    ]
    assert holds(walked) == [Hold("after", 1, "claim"), Hold("after", 2, "claim")]


def test_what_is_told_after_the_last_step_is_a_place_too() -> None:
    walked = [
        Hold("told", 1, "cluster"),
        Hold("after", 1, "create"),
        Hold("told", 1, "dev"),
        Hold("told", 1, "pod"),
        Hold("after", 1, "PATCH deployments/web"),
        Hold("told", 2, "dev"),
    ]
    assert holds(walked) == [Hold("after", 1, "create"), Hold("told", 2, "dev")]


def test_a_command_without_is_held_when_something_is_told_first() -> None:
    walked = [Hold("told", 1, "cluster"), Hold("told", 1, "pod"), Hold("told", 2, "pod"), Hold("after", 1, "POST x/y")]
    assert holds(walked) == walked[:2]


def test_each_step_has_a_fault_of_its_own() -> None:
    struck = {chosen(Cell("exchange", "starting", fault), POINTS) for fault in FAULTS}
    assert struck == set(POINTS)


def test_on_the_way_out_it_begins_before_the_first_step() -> None:
    struck = {chosen(Cell("exchange", "ending", fault), POINTS) for fault in FAULTS}
    assert struck == {TOLD_TO_END, *POINTS}


@pytest.mark.parametrize(
    ("name", "hold"),
    [
        ("mesh/starting/pod-deleted", POINTS[-1]),
        ("mesh/ending/pod-deleted", TOLD_TO_END),
        ("run/ending/helper-KILL", TOLD_TO_END),
        ("run/ending/both-INT", TOLD_TO_END),
    ],
)
def test_what_is_hit_is_there(name: str, hold: Hold) -> None:
    [cell] = select([name])
    assert chosen(cell, POINTS) == hold
