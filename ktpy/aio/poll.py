"""Asking for a condition again and again, where nothing tells that it has come true."""

import asyncio
from collections.abc import Awaitable, Callable

POLL_S = 0.1


async def poll_until(condition: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    """Ask every POLL_S until the condition holds; False after `within_s` seconds, which also end a pending question."""
    try:
        async with asyncio.timeout(within_s):
            while not await condition():  # noqa: ASYNC110 - what is asked is in the cluster
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True
