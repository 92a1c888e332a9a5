"""Attempts that fail and pauses in between, by a clock that only the pauses move."""

import pytest

from ktpy.aio.retry import Backoff, retry
from ktpy.errors import ApiUnreachable, Forbidden, KtpyError


class FakeTime:
    """A clock of seconds, and a sleep that moves it on at once."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, pause_s: float) -> None:
        self.slept_s.append(pause_s)
        self.now_s += pause_s


class Attempts:
    """Fails with each error in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def unreachable(count: int) -> list[KtpyError]:
    return [ApiUnreachable(f"failure {number}") for number in range(1, count + 1)]


async def test_a_success_needs_no_pause(time: FakeTime) -> None:
    assert await retry(Attempts(), Backoff(sleep=time.sleep).pause) == "done"
    assert time.slept_s == []


async def test_what_may_succeed_later_is_tried_again(time: FakeTime) -> None:
    attempts = Attempts(*unreachable(3))
    assert await retry(attempts, Backoff(sleep=time.sleep).pause) == "done"
    assert (attempts.made, len(time.slept_s)) == (4, 3)


@pytest.mark.parametrize("error", [Forbidden("no"), OSError("no")])
async def test_what_will_not_is_raised_at_once(time: FakeTime, error: Exception) -> None:
    attempts = Attempts(error)
    with pytest.raises(type(error)):
        await retry(attempts, Backoff(sleep=time.sleep).pause)
    assert (attempts.made, time.slept_s) == (1, [])


async def test_after_the_time_allowed_the_last_failure_is_raised(time: FakeTime) -> None:
    attempts = Attempts(*unreachable(9))
    with pytest.raises(ApiUnreachable, match="failure 4"):
        await retry(attempts, lambda: time.sleep(1.0), within_s=3.0, clock=time.clock)
    assert attempts.made == 4


async def test_pauses_double_up_to_the_limit_and_start_again_after_a_reset(time: FakeTime) -> None:
    backoff = Backoff(first_s=1.0, limit_s=4.0, sleep=time.sleep)
    for _ in range(4):
        await backoff.pause()
    for slept_s, longest_s in zip(time.slept_s, (1.0, 2.0, 4.0, 4.0), strict=True):
        assert longest_s / 2 <= slept_s <= longest_s
    backoff.reset()
    await backoff.pause()
    assert time.slept_s[-1] <= 1.0
