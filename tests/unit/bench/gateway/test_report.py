"""What the log says of requests that failed or waited."""

from tests.bench.gateway.report import SLOW_S, timeline
from tests.lab.sessions.request_log import Visit

RESET = "ConnectionResetError: reset"


def test_nothing_when_all_was_well() -> None:
    assert list(timeline([Visit(1.0, SLOW_S, "web")], [(0.5, "killed")])) == []


def test_requests_that_fared_alike_are_one_line_between_what_happened() -> None:
    visits = [
        Visit(12.0, 0.1, "local"),
        Visit(10.5, 0.1, "web"),
        Visit(11.75, 0.125, RESET),
        Visit(11.625, 0.1, "web"),
        Visit(11.5, 0.25, RESET),
        Visit(10.75, 0.2, "web"),
    ]
    assert list(timeline(visits, [(11.0, "killed"), (13.0, "back")])) == [
        "  -0.500 s to   -0.250 s,    2 in  0.200 s or less: answered by web",
        "  +0.000 s -- killed",
        "  +0.500 s to   +0.750 s,    2 in  0.250 s or less: FAILED: ConnectionResetError: reset",
        "  +0.625 s to   +0.625 s,    1 in  0.100 s or less: answered by web",
        "  +1.000 s to   +1.000 s,    1 in  0.100 s or less: answered by local",
        "  +2.000 s -- back",
    ]


def test_an_answer_that_came_late_is_told_too() -> None:
    assert list(timeline([Visit(10.0, 4.5, "x" * 100)], [])) == [
        "  +0.000 s to   +0.000 s,    1 in  4.500 s or less: late answered by xxxxxxxxxx"
    ]


def test_an_answer_to_the_second_try_is_told_too() -> None:
    assert list(timeline([Visit(10.0, 0.5, "web", is_retried=True)], [])) == [
        "  +0.000 s to   +0.000 s,    1 in  0.500 s or less: answered by web, asked twice"
    ]
