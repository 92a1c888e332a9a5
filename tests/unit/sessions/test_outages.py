"""What is told of a link that goes and comes back."""

from ktpy.errors import ApiUnreachable, LinkLost, LinkSilent, Unauthorized
from ktpy.observe.events import Event, LinkBack, LinkDown, Notice
from ktpy.observe.status import LinkStatus
from ktpy.sessions.outages import TELL_AFTER_S, Outages

LOST = LinkLost("The link was lost.")
EXPIRED = Unauthorized("The token has expired.")


class Course:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.told: list[Event] = []
        self.outages = Outages(self.told.append, lambda: self.now_s)


def test_the_first_session_is_no_news() -> None:
    course = Course()
    course.outages.stands("pod-1")
    course.now_s += 7
    assert course.told == []
    assert course.outages.status == LinkStatus(is_up=True, for_s=7)


def test_a_loss_and_a_return_are_told_in_a_line_each() -> None:
    course = Course()
    course.outages.stands("pod-1")
    for number, pod in enumerate(("pod-1", "pod-2"), 1):
        course.outages.lost(LOST)
        course.now_s += 30
        course.outages.failed(ApiUnreachable("No route to host."))
        assert course.outages.status == LinkStatus(False, 30, number, "No route to host.")
        course.outages.stands(pod)
        assert course.told == [LinkDown("The link was lost."), LinkBack(pod, 30, number)]
        assert course.outages.status == LinkStatus(True, 0, number, "No route to host.")
        course.told.clear()


def test_what_somebody_has_to_do_something_about_is_told_once_in_an_outage() -> None:
    course = Course()
    for _ in range(2):
        course.outages.stands("pod-1")
        course.outages.lost(LOST)
        course.told.clear()
        for number in range(20):
            course.now_s += 0.5
            course.outages.failed(EXPIRED)
            course.outages.failed(ApiUnreachable("No route to host."))
            assert number >= 2 * TELL_AFTER_S or course.told == []
        assert course.told == [Notice("The token has expired. ktpy keeps trying.")]


def test_whether_the_api_server_is_away() -> None:
    course = Course()
    course.outages.stands("pod-1")
    course.outages.lost(LOST)
    assert not course.outages.is_api_away
    course.outages.failed(ApiUnreachable("No route to host."))
    assert course.outages.is_api_away
    course.outages.stands("pod-1")
    assert not course.outages.is_api_away
    course.outages.lost(LinkSilent("Not a word."))
    assert course.outages.is_api_away


def test_datagrams_without_a_connection_are_told_where_others_have_one() -> None:
    course = Course()
    course.outages.datagrams_failed(LOST)
    assert course.told == []
    course.outages.stands("pod-1")
    course.outages.datagrams_failed(LOST)
    assert course.told == [
        Notice("UDP and ping are unreachable, and TCP goes on: The link was lost. ktpy keeps trying.")
    ]
