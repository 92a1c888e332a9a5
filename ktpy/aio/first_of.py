"""Waiting for whichever of several tasks ends first."""

import asyncio
from typing import Any


async def first_of(*tasks: "asyncio.Task[Any]") -> "asyncio.Task[Any]":
    """Wait until one of the tasks has ended, with a result or an error, and return it: the first in order of several.

    None of them is cancelled, also when the caller is.
    """
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return next(task for task in tasks if task.done())
