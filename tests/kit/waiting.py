"""Waiting for what only another process, the kernel or a cluster can tell, by looking again and again.

What happens in the test's own process is awaited by an event instead.
"""

import asyncio
import time
from collections.abc import Callable

POLL_INTERVAL_S = 0.01
TIMEOUT_S = 15.0


def eventually(condition: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> bool:
    """Return whether the condition came true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


async def until(condition: Callable[[], bool], what: str = "the condition", timeout_s: float = TIMEOUT_S) -> None:
    """Return when the condition has come true; AssertionError when it does not in time. The loop runs meanwhile."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(POLL_INTERVAL_S)
