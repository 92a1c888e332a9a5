import pytest

from ktpy.errors import (
    ApiUnreachable,
    Forbidden,
    KtpyError,
    LinkLost,
    PodFailed,
    PodNotReady,
    Unauthorized,
    UsageError,
    of_code,
)
from ktpy.kube.portforward.upgrade import PortForwardNotYet
from ktpy.kube.refusals import NeverSent, Unavailable
from ktpy.link.connection import KeyNotTaken
from ktpy.link.route import RouteNotYet


@pytest.mark.parametrize(
    "error",
    [ApiUnreachable, Unavailable, NeverSent, LinkLost, PodNotReady, PortForwardNotYet, RouteNotYet, KeyNotTaken],
)
def test_what_may_succeed_later(error: type[KtpyError]) -> None:
    assert error.is_transient


@pytest.mark.parametrize("error", [KtpyError, Unauthorized, Forbidden, PodFailed])
def test_what_will_not_succeed_by_itself(error: type[KtpyError]) -> None:
    assert not error.is_transient


def test_a_hint_that_is_added_makes_another_error() -> None:
    failure = PodFailed("The pod ended.")
    hinted = failure.with_hint("Its log ends: no")
    assert (type(hinted), hinted.message, hinted.hint) == (PodFailed, "The pod ended.", "Its log ends: no")
    assert failure.hint is None


def test_what_another_process_has_told_is_the_same_failure() -> None:
    lost = of_code(40, "The link was lost.", "Again.")
    assert (type(lost), lost.message, lost.hint) == (LinkLost, "The link was lost.", "Again.")
    assert type(of_code(99, "Of a later ktpy.")) is KtpyError
    assert [type(of_code(code, "")) for code in (1, 2)] == [KtpyError, UsageError]
