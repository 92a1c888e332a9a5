import asyncio
from contextlib import aclosing

from ktpy.observe.broadcast import Broadcast
from ktpy.observe.events import Event, Notice

ONE, TWO, THREE = (Notice(text) for text in ("one", "two", "three"))


async def begin(broadcast: Broadcast) -> tuple[list[Event], "asyncio.Task[None]"]:
    """A listener that has begun to listen, and what it hears."""
    heard: list[Event] = []

    async def listen() -> None:
        async for event in broadcast.listen():
            heard.append(event)  # noqa: PERF401 - one after the other

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    return heard, task


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_everybody_who_listens_hears_each_event_once_and_in_order() -> None:
    broadcast = Broadcast()
    listeners = [await begin(broadcast) for _ in range(2)]
    broadcast.publish(ONE)
    broadcast.publish(TWO)
    await turns()
    broadcast.publish(THREE)
    await turns()
    assert [heard for heard, _ in listeners] == [[ONE, TWO, THREE]] * 2
    for _, task in listeners:
        task.cancel()


async def test_nobody_hears_what_came_before() -> None:
    broadcast = Broadcast()
    broadcast.publish(ONE)
    heard, task = await begin(broadcast)
    broadcast.publish(TWO)
    await turns()
    assert heard == [TWO]
    task.cancel()


async def test_a_slow_listener_misses_the_oldest() -> None:
    broadcast = Broadcast(capacity=2)
    heard, task = await begin(broadcast)
    for event in (ONE, TWO, THREE):
        broadcast.publish(event)
    await turns()
    assert heard == [TWO, THREE]
    task.cancel()


async def test_a_listener_that_leaves_costs_nothing_any_more() -> None:
    broadcast = Broadcast()
    async with aclosing(broadcast.listen()) as events:  # type: ignore[type-var]
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        broadcast.publish(ONE)
        assert await waiting == ONE
    assert not broadcast._queues
