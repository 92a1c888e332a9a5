import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

from ktpy.aio.task_group import first_failure, task_group


async def fail_with(error: BaseException) -> None:
    raise error


async def test_a_failure_comes_out_as_itself_and_ends_the_others() -> None:
    others: list[asyncio.Task[bool]] = []

    async def work() -> None:
        async with task_group() as tasks:
            others.append(tasks.create_task(asyncio.Event().wait()))
            tasks.create_task(fail_with(KeyError("x")))

    with pytest.raises(KeyError):
        await work()
    assert others[0].cancelled()


async def test_a_failure_of_the_body_comes_out_as_itself() -> None:
    with pytest.raises(KeyError):
        async with task_group():
            raise KeyError("x")


async def test_a_failure_deep_inside_comes_out_as_itself() -> None:
    async def nested() -> None:
        async with asyncio.TaskGroup() as inner:
            inner.create_task(fail_with(KeyError("x")))

    with pytest.raises(KeyError):
        async with task_group() as tasks:
            tasks.create_task(nested())


async def test_cancellation_stays_cancellation() -> None:
    async def work() -> None:
        async with task_group() as tasks:
            tasks.create_task(asyncio.Event().wait())

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def fail_when_cancelled(error: BaseException) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise error


async def run(*work: Coroutine[None, None, None], body: Coroutine[None, None, None]) -> None:
    async with task_group() as tasks:
        for one in work:
            tasks.create_task(one)
        await asyncio.sleep(0)
        await body


async def test_the_first_of_several_failures_comes_out_and_the_others_are_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(KeyError) as raised:
        await run(fail_when_cancelled(OSError("later")), fail_with(KeyError("first")), body=asyncio.sleep(0))
    assert raised.value.__notes__ == ["Another task failed as well: OSError('later')"]
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "OSError('later')"


async def test_a_failure_of_the_body_goes_before_those_of_tasks_that_it_cancels() -> None:
    with pytest.raises(KeyError) as raised:
        await run(fail_when_cancelled(OSError("later")), body=fail_with(KeyError("first")))
    assert raised.value.__notes__ == ["Another task failed as well: OSError('later')"]


async def test_a_failure_of_the_body_that_a_task_has_cancelled_goes_after_it() -> None:
    with pytest.raises(KeyError) as raised:
        await run(fail_with(KeyError("first")), body=fail_when_cancelled(OSError("later")))
    assert raised.value.__notes__ == ["Another task failed as well: OSError('later')"]


async def test_a_failure_keeps_its_cause_and_context() -> None:
    error = KeyError("x")
    error.__cause__ = error.__context__ = cause = OSError("why")
    with pytest.raises(KeyError) as raised:
        await run(fail_with(error), body=asyncio.sleep(0))
    assert raised.value.__cause__ is cause
    assert raised.value.__context__ is cause


async def fail_later(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def test_a_failure_after_the_body_leaves_nothing_cancelled() -> None:
    with pytest.raises(KeyError):
        async with task_group() as tasks:
            tasks.create_task(fail_later(KeyError("x")))
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_time_out_around_a_failure_after_the_body_is_one() -> None:
    async def work() -> None:
        async with asyncio.timeout(None) as limit:
            with suppress(KeyError):
                async with task_group() as tasks:
                    tasks.create_task(fail_later(KeyError("x")))
            limit.reschedule(0)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()


class TestCancelledWhileItFails:
    """A task of the group takes its time to end, and the cancellation comes meanwhile."""

    async def fail(self, cancel: Callable[[], object]) -> None:
        async def end_slowly() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancel()

        await run(end_slowly(), body=fail_with(KeyError("x")))

    async def test_who_catches_the_failure_is_cancelled_at_the_next_await(self) -> None:
        caught: list[KeyError] = []

        async def go_on() -> None:
            try:
                await self.fail(lambda: task.cancel())
            except KeyError as error:
                caught.append(error)
            await asyncio.Event().wait()

        task = asyncio.create_task(go_on())
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        assert len(caught) == 1

    async def test_so_is_who_has_it_from_a_group_within_a_group(self) -> None:
        async def go_on() -> None:
            with suppress(KeyError, OSError):
                async with task_group() as tasks:
                    tasks.create_task(fail_when_cancelled(OSError("later")))
                    await asyncio.sleep(0)
                    await self.fail(lambda: task.cancel())
            await asyncio.Event().wait()

        task = asyncio.create_task(go_on())
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()

    async def test_a_time_out_that_has_passed_by_then_cancels_nothing_later(self) -> None:
        with pytest.raises(KeyError):
            async with asyncio.timeout(None) as limit:
                await self.fail(lambda: limit.reschedule(0))
        for _ in range(3):
            await asyncio.sleep(0)

    async def test_nor_does_one_that_fires_while_the_group_fails(self) -> None:
        async def end_after(limit: asyncio.Timeout) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                limit.reschedule(0)
                await asyncio.sleep(0)
                assert limit.expired()

        with pytest.raises(KeyError):
            async with asyncio.timeout(None) as limit:
                await run(end_after(limit), body=fail_with(KeyError("x")))
        task = asyncio.current_task()
        assert task
        assert task.cancelling() == 0
        for _ in range(3):
            await asyncio.sleep(0)


class TestFirstFailure:
    def test_an_error_that_is_no_group_is_itself(self) -> None:
        error = KeyError("x")
        assert first_failure(error) is error

    def test_the_only_failure_of_nested_groups(self) -> None:
        error = KeyError("x")
        assert first_failure(ExceptionGroup("", [ExceptionGroup("", [error]), error])) is error
        assert not hasattr(error, "__notes__")

    def test_the_first_of_nested_groups_with_all_the_others(self) -> None:
        first, second, third = KeyError("1"), KeyError("2"), KeyError("3")
        group = ExceptionGroup("", [ExceptionGroup("", [first, second]), third])
        assert first_failure(group) is first
        assert len(first.__notes__) == 2

    def test_cancellations_do_not_count_beside_a_failure(self) -> None:
        error = KeyError("x")
        assert first_failure(BaseExceptionGroup("", [asyncio.CancelledError(), error])) is error
        assert not hasattr(error, "__notes__")

    def test_nothing_but_cancellations_is_a_cancellation(self) -> None:
        cancelled = asyncio.CancelledError()
        assert first_failure(BaseExceptionGroup("", [cancelled, asyncio.CancelledError()])) is cancelled
        assert not hasattr(cancelled, "__notes__")
