import pytest

from tests.lab import LabError
from tests.lab.sessions.request_log import Visit, Visits, until_answered, until_asked


@pytest.fixture
def visits() -> Visits:
    """Three answers of the pods, a failure, and then the laptop's."""
    answers = ["web", "web", "web", "HTTP 503: away", "local"]
    return Visits(visits=[Visit(10.0 + number, 0.1 * number, answer) for number, answer in enumerate(answers)])


def test_answers_of_a_span_of_time(visits: Visits) -> None:
    assert visits.answers(until_s=13.0) == {"web"}
    assert visits.answers(since_s=13.0) == {"HTTP 503: away", "local"}
    assert visits.answers(until_s=13.2) == {"web"}, "the next one was under way"
    assert visits.endings(14.2) == {"local"}, "which had begun before"


def test_a_failure_is_whatever_is_no_word(visits: Visits) -> None:
    assert [visit.answer for visit in visits.failures()] == ["HTTP 503: away"]


def test_who_answered_from_when_to_when(visits: Visits) -> None:
    assert visits.story().splitlines() == [
        "  0.000 to   2.000 s,    3: web",
        "  3.000 to   3.000 s,    1: HTTP 503: away",
        "  4.000 to   4.000 s,    1: local",
    ]


def test_retries_and_the_slowest(visits: Visits) -> None:
    visits.visits.append(Visit(20.0, 3.0, "local", is_retried=True))
    assert (visits.retried(), visits.slowest_s()) == (1, 3.0)


def test_waiting_for_an_answer_that_does_not_come_shows_those_that_did(visits: Visits) -> None:
    with pytest.raises(LabError, match=r"other to answer(.|\n)*1: local"):
        until_answered(visits, "other", timeout_s=0.01)


def test_waiting_for_requests_that_nobody_makes(visits: Visits) -> None:
    with pytest.raises(LabError, match="2 more requests"):
        until_asked(visits, 2, timeout_s=0.01)


def test_a_client_that_has_not_asked_lately_was_answered_by_somebody_all_the_same() -> None:
    slow, others = Visit(1.0, 0.1, "web", client=1), [Visit(number, 0.1, "local") for number in (0.5, 2.0, 3.0)]
    log = Visits(visits=[slow, *others])
    assert (log.answers(2.0), log.latest()) == ({"local"}, {"local", "web"})
