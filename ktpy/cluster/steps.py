"""What is done in the cluster, as a row of named steps: for progress, and for tests that stop after each of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Step:
    """One change, or one wait."""

    name: str
    run: Callable[[], Awaitable[None]]


async def run_steps(steps: Iterable[Step], on_done: Callable[[str], None] = lambda _: None) -> None:
    """Run the steps in order; `on_done` gets the name of each that is done. What one raises ends the walk."""
    for step in steps:
        await step.run()
        on_done(step.name)


async def nothing() -> None:
    """A step that does nothing."""


async def poll_until(condition: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    """Ask again and again, for conditions that several objects of the cluster make up; False after the time."""
    try:
        async with asyncio.timeout(within_s):
            while not await condition():  # noqa: ASYNC110 - what is asked is in the cluster
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True
