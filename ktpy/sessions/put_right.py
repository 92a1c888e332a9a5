"""What others do to the routes, when a laptop changes its network or a VPN comes up, is put right or told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

from ktpy.capture.spec import Front
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.errors import KtpyError
from ktpy.observe.events import Notice, Report
from ktpy.sessions.outages import Outages

if TYPE_CHECKING:
    from ktpy.cluster.routing.networks import Network


async def put_right(
    machine: Front,
    outages: Outages,
    routed: Callable[[], Sequence[RoutedRange]],
    allowed: "Sequence[Network]",
    report: Report,
    is_wrong: Callable[[tuple[str, ...]], None],
) -> None:
    """See to the routes after each outage, and when others change the machine's, for ever.

    What was said the time before is not repeated; `is_wrong` is told all that is the case.
    """
    told: list[str] = []
    async for _ in _each(outages.wait_back, machine.wait_routes_changed):
        before = told
        try:
            told = await machine.put_right(routed(), allowed)
        except KtpyError as error:
            told = [error.message]
        is_wrong(tuple(told))
        for sentence in told:
            if sentence not in before:
                report(Notice(sentence))


async def _each(*waits: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Yield each time that one of these has come, once for several at the same time."""
    waiting = {asyncio.create_task(wait()): wait for wait in waits}
    try:
        while True:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                wait = waiting.pop(task)
                task.result()
                waiting[asyncio.create_task(wait())] = wait
            yield
    finally:
        for task in waiting:
            task.cancel()
