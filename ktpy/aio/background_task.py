"""A background task runs beside a block, and a failure of it does not end the block."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def background_task(work: Coroutine[Any, Any, T], name: str) -> AsyncIterator["asyncio.Task[T]"]:
    """Run `work` while the block runs.

    Unlike a TaskGroup it does not end the block when the work fails: undoing that is under way would be cut short.
    Await the task where its failure should count.
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # who wanted to know has awaited it
