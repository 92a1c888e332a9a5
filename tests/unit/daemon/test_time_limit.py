"""Time is what the test says it is."""

import asyncio

import pytest

from ktpy.daemon.time_limit import TimeLimit
from ktpy.observe.events import Event, Notice


class Laptop:
    """Its clock goes on when somebody sleeps, and while it sleeps itself, `asleep_s` the next time."""

    def __init__(self) -> None:
        self.now_s, self.asleep_s = 1000.0, 0.0
        self.told: list[tuple[float, Event]] = []

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds + self.asleep_s
        self.asleep_s = 0.0
        await asyncio.sleep(0)

    def limit(self, limit_s: float) -> TimeLimit:
        return TimeLimit(limit_s, clock=lambda: self.now_s, sleep=self.sleep)

    def hear(self, event: Event) -> None:
        self.told.append((self.now_s, event))


@pytest.mark.parametrize(("limit_s", "words"), [(7200.0, "2h"), (5400.0, "90m"), (130.0, "130s")])
async def test_its_end_is_told_a_minute_before(limit_s: float, words: str) -> None:
    laptop = Laptop()
    limit = laptop.limit(limit_s)
    assert (limit.left_s, limit.is_over) == (limit_s, False)
    await limit.wait(laptop.hear)
    assert (laptop.now_s, limit.left_s, limit.is_over) == (1000 + limit_s, 0, True)
    sentence = f"{words} of --for are over in a minute; the session ends then."
    assert laptop.told == [(1000 + limit_s - 60, Notice(sentence))]


async def test_a_short_one_ends_without_a_word() -> None:
    laptop = Laptop()
    await laptop.limit(90).wait(laptop.hear)
    assert (laptop.now_s, laptop.told) == (1090, [])


async def test_the_time_that_the_laptop_sleeps_counts() -> None:
    laptop = Laptop()
    laptop.asleep_s = 10_000.0
    await laptop.limit(7200).wait(laptop.hear)
    assert laptop.now_s == 1000 + 10_000 + 30


async def test_without_one_nothing_ends() -> None:
    limit = Laptop().limit(0)
    assert (limit.left_s, limit.is_over) == (None, False)
    waiting = asyncio.create_task(limit.wait(lambda _: None))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
