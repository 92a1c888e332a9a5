"""What the log says of requests that failed."""

from tests.bench.gateway.story import MOST_LINES, tell
from tests.e2e.visits import Visit

RESET = "ConnectionResetError: reset, request 3 of its connection"


def test_nothing_when_nothing_failed() -> None:
    assert list(tell([Visit(1.0, 0.1, "web")], [(0.5, "killed")])) == []


def test_failures_stand_between_what_happened_and_who_answered() -> None:
    visits = [Visit(12.0, 0.1, "local"), Visit(10.5, 0.1, "web"), Visit(11.5, 0.25, RESET), Visit(10.6, 0.1, "web")]
    assert list(tell(visits, [(11.0, "killed"), (13.0, "back")])) == [
        "  -0.500 s answered by web",
        "  +0.000 s -- killed",
        f"  +0.500 s failed after 0.250 s: {RESET}",
        "  +1.000 s answered by local",
        "  +2.000 s -- back",
    ]


def test_of_many_the_first_are_told_and_the_rest_counted() -> None:
    lines = list(tell([Visit(float(number), 0.1, RESET) for number in range(MOST_LINES + 7)], []))
    assert len(lines) == MOST_LINES + 1
    assert lines[-1].endswith("7 more failed")
