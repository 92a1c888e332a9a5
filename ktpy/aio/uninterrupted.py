"""Work that is done to its end, also when whoever waits for it is cancelled meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def uninterrupted(work: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
    """Do the work and return what it returns. A cancellation is raised when it is done, unless it has failed."""
    task = asyncio.ensure_future(work(*arguments, **named))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if task.exception() is None and cancelled is not None:
        raise cancelled
    return task.result()
