import asyncio

import pytest

from ktpy.aio.background_task import background_task


async def test_the_work_ends_with_the_block() -> None:
    async with background_task(asyncio.sleep(60), "work") as task:
        await asyncio.sleep(0)
    assert task.cancelled()


async def test_a_failure_does_not_end_the_block_but_counts_where_it_is_awaited() -> None:
    async def fail() -> None:
        raise RuntimeError

    async with background_task(fail(), "work") as task:
        await asyncio.wait({task})
        with pytest.raises(RuntimeError):
            await asyncio.shield(task)
