import asyncio

import pytest

from ktpy.aio.uninterrupted import uninterrupted


class Work:
    """Work that waits in its middle."""

    def __init__(self) -> None:
        self.began, self.go_on, self.is_done = asyncio.Event(), asyncio.Event(), False
        self.failure: Exception | None = None

    async def __call__(self) -> None:
        self.began.set()
        await self.go_on.wait()
        self.is_done = True
        if self.failure:
            raise self.failure


async def cancelled_twice(work: Work) -> "asyncio.Task[None]":
    waiting = asyncio.create_task(uninterrupted(work))
    await work.began.wait()
    for _ in range(2):
        waiting.cancel()
        await asyncio.sleep(0)
    assert not waiting.done()
    work.go_on.set()
    return waiting


async def test_a_cancellation_waits_for_the_end_of_the_work() -> None:
    work = Work()
    waiting = await cancelled_twice(work)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.is_done


async def test_a_failure_is_told_although_it_was_cancelled() -> None:
    work = Work()
    work.failure = ValueError("left")
    waiting = await cancelled_twice(work)
    with pytest.raises(ValueError, match="left"):
        await waiting


async def test_without_a_cancellation_it_ends_with_the_work() -> None:
    work = Work()
    work.go_on.set()
    await uninterrupted(work)
    assert work.is_done
