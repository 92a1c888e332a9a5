"""Policies of an uplink, on a clock of the test's own."""

import pytest

from ktpy.aio.retry import Backoff
from ktpy.errors import ApiUnreachable, Forbidden, KtpyError, LinkLost, PodFailed, PodNotReady, Unauthorized
from ktpy.kube.portforward.port_forward import PortForwardNotYet
from ktpy.link.connection import KeyNotTaken
from ktpy.link.dial_policy import DialAgain, DialPolicy, DialUntilUp, DialWithin, KeepDialling


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.pauses_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, pause_s: float) -> None:
        self.pauses_s.append(pause_s)
        self.now_s += pause_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def until_up(clock: Clock, timeout_s: float = 10) -> DialUntilUp:
    return DialUntilUp(timeout_s, interval_s=0.5, clock=clock, sleep=clock.sleep)


@pytest.mark.parametrize("error", [PortForwardNotYet("no node"), ApiUnreachable("blip"), LinkLost("died")])
async def test_attempts_begin_at_the_interval(clock: Clock, error: KtpyError) -> None:
    policy = until_up(clock)
    for attempt_s in (0.2, 0.7):
        began_s = clock.now_s
        clock.now_s += attempt_s
        await policy.dial_failed(error, began_s)
    assert clock.pauses_s == [pytest.approx(0.3), 0]


@pytest.mark.parametrize("error", [Forbidden("no"), PodFailed("foreign"), KeyNotTaken("stranger")])
async def test_what_will_not_go_away_is_raised_at_once(clock: Clock, error: KtpyError) -> None:
    with pytest.raises(type(error)):
        await until_up(clock).dial_failed(error, clock.now_s)
    assert clock.pauses_s == []


@pytest.mark.parametrize("last", [PortForwardNotYet("no node yet"), LinkLost("no node yet")])
async def test_the_deadline_counts_from_the_first_attempt(clock: Clock, last: KtpyError) -> None:
    policy = until_up(clock, timeout_s=1)
    await policy.dial_failed(last, clock.now_s)
    await policy.dial_failed(last, clock.now_s)
    with pytest.raises(PodNotReady, match=r"within 1 s\. no node yet") as raised:
        await policy.dial_failed(last, clock.now_s)
    assert raised.value.__cause__ is last


async def test_an_api_server_that_is_away_at_the_deadline_is_the_failure(clock: Clock) -> None:
    away = ApiUnreachable("away")
    with pytest.raises(ApiUnreachable, match="away"):
        await until_up(clock, timeout_s=0).dial_failed(away, clock.now_s)


async def test_a_lost_link_is_final(clock: Clock) -> None:
    with pytest.raises(LinkLost, match="gone"):
        await until_up(clock).link_lost(LinkLost("gone"))


async def test_keep_dialling_pauses_longer_and_longer_and_anew_after_a_loss(clock: Clock) -> None:
    policy = KeepDialling(Backoff(1, 2, clock.sleep), Backoff(10, 40, clock.sleep))
    for _ in range(3):
        await policy.dial_failed(KeyNotTaken("not yet"), clock.now_s)
    for _ in range(2):
        await policy.link_lost(LinkLost("gone"))
        await policy.dial_failed(ApiUnreachable("blip"), clock.now_s)
    for pause_s, longest_s in zip(clock.pauses_s, [1, 2, 2, 10, 20, 10, 20], strict=True):
        assert longest_s / 2 <= pause_s <= longest_s


@pytest.mark.parametrize("error", [Unauthorized("expired"), Forbidden("no")])
async def test_keep_dialling_waits_for_rights_once_a_link_has_stood(clock: Clock, error: KtpyError) -> None:
    policy = KeepDialling(Backoff(1, 2, clock.sleep), Backoff(10, 40, clock.sleep))
    await policy.link_lost(LinkLost("gone"))
    await policy.dial_failed(error, clock.now_s)
    assert len(clock.pauses_s) == 2
    with pytest.raises(PodFailed):
        await policy.dial_failed(PodFailed("foreign"), clock.now_s)


async def test_keep_dialling_ends_with_what_no_waiting_mends(clock: Clock) -> None:
    with pytest.raises(Forbidden):
        await KeepDialling(Backoff(1, 2, clock.sleep), Backoff(10, 40, clock.sleep)).dial_failed(Forbidden("no"), 0)
    assert clock.pauses_s == []


class Standing:
    """A session that stands, or does not yet, and what it is told."""

    def __init__(self, clock: Clock) -> None:
        self.is_ready = True
        self.told: list[KtpyError] = []
        self.policy = DialAgain(until_up(clock), lambda: self.is_ready, self._note, self._note, sleep=clock.sleep)

    async def _note(self, error: KtpyError) -> None:
        self.told.append(error)


async def test_dialling_again_waits_for_every_failure_at_its_own_pace(clock: Clock) -> None:
    standing = Standing(clock)
    for error, longest_s in (
        (ApiUnreachable("cable out"), 1),
        (PortForwardNotYet("no node"), 0.2),
        (KeyNotTaken("not yet"), 0.2),
        (Unauthorized("expired"), 5),
        (PodFailed("foreign"), 5),
    ):
        for _ in range(10):
            await standing.policy.dial_failed(error, clock.now_s)
        assert longest_s / 2 <= clock.pauses_s[-1] <= longest_s
        assert standing.told[-1] is error


async def test_dialling_again_begins_at_once_after_each_loss(clock: Clock) -> None:
    standing, lost = Standing(clock), LinkLost("gone")
    for _ in range(2):
        await standing.policy.link_lost(lost)
        assert standing.told.pop() is lost
        assert clock.pauses_s == []
        for _ in range(10):
            await standing.policy.dial_failed(ApiUnreachable("cable out"), clock.now_s)
        assert clock.pauses_s[0] <= 0.1
        clock.pauses_s.clear()
        standing.told.clear()


@pytest.mark.parametrize("error", [ApiUnreachable("cable out"), LinkLost("reset"), Unauthorized("expired")])
@pytest.mark.parametrize("kind", ["connect", "intercept"])
async def test_ten_minutes_without_a_way_end_nothing_and_the_next_attempt_is_near(
    clock: Clock, kind: str, error: KtpyError
) -> None:
    pauses = Backoff(0.05, 0.2, clock.sleep), Backoff(0.2, 5.0, clock.sleep)
    policy: DialPolicy = Standing(clock).policy if kind == "connect" else KeepDialling(*pauses)
    await policy.link_lost(LinkLost("gone"))
    ends_s = clock.now_s + 600
    while clock.now_s < ends_s:
        await policy.dial_failed(error, clock.now_s)
    assert max(clock.pauses_s) <= (1 if kind == "connect" and error.is_transient else 5)


async def test_a_session_that_does_not_stand_yet_is_not_dialled_again(clock: Clock) -> None:
    standing = Standing(clock)
    standing.is_ready = False
    with pytest.raises(LinkLost, match="gone"):
        await standing.policy.link_lost(LinkLost("gone"))
    with pytest.raises(Forbidden):
        await standing.policy.dial_failed(Forbidden("no"), clock.now_s)
    assert standing.told == []


async def true() -> bool:
    return True


async def false() -> bool:
    return False


async def test_a_link_that_is_to_come_back_within_a_time(clock: Clock) -> None:
    pauses = Backoff(0.1, 0.2, clock.sleep), Backoff(0.2, 5, clock.sleep)
    policy = DialWithin(*pauses, 600, true, lambda: clock.now_s)
    await policy.dial_failed(KeyNotTaken("not yet"), clock.now_s)
    for error in (ApiUnreachable("away"), LinkLost("cut off")):
        await policy.link_lost(LinkLost("gone"))
        ends_s = clock.now_s + 590
        while clock.now_s < ends_s:
            await policy.dial_failed(error, clock.now_s)
    with pytest.raises(LinkLost, match="gone"):
        await policy.dial_failed(ApiUnreachable("away"), clock.now_s + 10)


async def test_a_link_to_a_pod_that_is_no_more(clock: Clock) -> None:
    pauses = Backoff(0.1, 0.2, clock.sleep), Backoff(0.2, 5, clock.sleep)
    policy = DialWithin(*pauses, 600, false, lambda: clock.now_s)
    await policy.dial_failed(LinkLost("it starts"), clock.now_s)
    with pytest.raises(PodFailed, match="foreign"):
        await policy.dial_failed(PodFailed("foreign"), clock.now_s)
    await policy.link_lost(LinkLost("gone"))
    await policy.dial_failed(ApiUnreachable("away"), clock.now_s)
    with pytest.raises(LinkLost, match="gone"):
        await policy.dial_failed(LinkLost("cut off"), clock.now_s)


async def test_what_answers_is_no_agent_of_ours_any_more(clock: Clock) -> None:
    policy = DialWithin(Backoff(0.1, 0.2, clock.sleep), Backoff(0.2, 5, clock.sleep), 600, true, lambda: clock.now_s)
    await policy.link_lost(LinkLost("gone"))
    with pytest.raises(LinkLost, match="gone"):
        await policy.dial_failed(PodFailed("foreign"), clock.now_s)
