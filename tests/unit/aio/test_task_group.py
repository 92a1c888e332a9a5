import asyncio

import pytest

from ktpy.aio.task_group import task_group


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
