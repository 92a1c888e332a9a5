import asyncio
import time

import pytest

from tests.kit import waiting
from tests.kit.waiting import eventually, until


class Clock:
    """Time that passes only while somebody sleeps."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def test_what_is_so_already_takes_no_time(clock: Clock) -> None:
    assert eventually(lambda: True, timeout_s=0.0)
    assert clock.now_s == 0.0


def test_what_comes_true_is_noticed(clock: Clock) -> None:
    assert eventually(lambda: clock.now_s > 3.0)


def test_what_stays_false_is_given_up(clock: Clock) -> None:
    assert not eventually(lambda: False, timeout_s=2.0)
    assert clock.now_s == pytest.approx(2.0, abs=0.02)


async def test_others_run_meanwhile() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await until(done.is_set)


async def test_a_failure_says_what_was_awaited() -> None:
    began_s = time.monotonic()
    with pytest.raises(AssertionError, match=r"^the echo: not within 0\.01 s"):
        await until(lambda: False, "the echo", timeout_s=0.01)
    assert time.monotonic() - began_s < 5.0
