import asyncio

import pytest

from ktpy.aio.first_of import first_of


async def forever() -> None:
    await asyncio.Event().wait()


async def at_once(result: int) -> int:
    return result


async def test_the_first_that_ends_is_the_answer_and_the_others_go_on() -> None:
    waiting, ending = asyncio.create_task(forever()), asyncio.create_task(at_once(7))
    assert await first_of(waiting, ending) is ending
    assert not waiting.done()
    waiting.cancel()


async def test_of_several_the_order_decides() -> None:
    tasks = [asyncio.create_task(at_once(number)) for number in range(2)]
    await asyncio.wait(tasks)
    assert await first_of(*reversed(tasks)) is tasks[1]


async def test_a_failure_is_not_raised_but_found_in_the_task() -> None:
    async def fail() -> None:
        raise ValueError

    failing = asyncio.create_task(fail())
    with pytest.raises(ValueError):
        (await first_of(failing)).result()


async def test_a_caller_that_is_cancelled_leaves_the_tasks_alone() -> None:
    waiting = asyncio.create_task(forever())
    asking = asyncio.create_task(first_of(waiting))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    assert not waiting.done()
    waiting.cancel()
