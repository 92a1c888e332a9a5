"""Results as values, and the file in which they add up."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import results
from tests.chaos.results import ITSELF, NOBODY, Left, Requests, Result
from tests.lab.sessions.request_log import Visit

RESULT = Result(
    cell="connect/ready/main-KILL",
    at="",
    outcome="ends",
    exit_code=-9,
    laptop=Left(),
    cluster=Left(("Job", "Pod"), ITSELF, 71.2),
    is_as_before=True,
    requests=Requests(40, 0, 0.1),
    commit="abc1234",
    date="2026-11-29",
)


@pytest.mark.parametrize(
    ("changed", "is_well"),
    [
        (RESULT, True),
        (replace(RESULT, cluster=Left(("Job",), "ktpy clean", 8.0)), True),
        (replace(RESULT, cluster=Left(("Job",), NOBODY, 130.0)), False),
        (replace(RESULT, laptop=Left(("routes",), NOBODY)), False),
        (replace(RESULT, is_as_before=False), False),
        (replace(RESULT, outcome="hangs"), False),
    ],
)
def test_all_is_well_where_somebody_undid_everything(changed: Result, is_well: bool) -> None:
    assert changed.is_well == is_well


def test_runs_in_parts_add_up(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "chaos.json"
    other = replace(RESULT, cell="run/ready/main-KILL", requests=None)
    newer = replace(RESULT, date="2026-11-30")
    for one in (RESULT, other, newer):
        results.add(path, one)
    assert results.read(path) == {newer.cell: newer, other.cell: other}


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert results.read(tmp_path / "chaos.json") == {}


def test_requests_are_counted_by_when_they_ended() -> None:
    visits = [
        Visit(0.0, 0.1, "early"),
        Visit(1.0, 0.1, "web"),
        Visit(1.5, 2.0, "TimeoutError()"),
        Visit(3.6, 0.1, "web"),
        Visit(9.0, 0.1, "late"),
    ]
    assert Requests.of(visits, 1.0, 8.0) == Requests(asked=3, lost=1, longest_s=2.6)


def test_who_is_never_answered_again_waits_to_the_end() -> None:
    visits = [Visit(1.0, 0.1, "web"), Visit(2.0, 0.1, "OSError()"), Visit(5.0, 0.1, "OSError()")]
    assert Requests.of(visits, 0.0, 9.0) == Requests(asked=3, lost=2, longest_s=4.0)


def test_nobody_asked() -> None:
    assert Requests.of([], 0.0, 1.0) is None
