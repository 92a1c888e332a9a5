"""Waiting for what only another process, the kernel or a cluster can tell, by looking again and again.

What happens in the test's own process is awaited by an event instead.
"""

import time
from collections.abc import Callable

POLL_INTERVAL_S = 0.01
LONGEST_INTERVAL_S = 0.1
RELATIVE_INTERVAL = 0.05
"""Of the time that has passed: who has waited for 2 s looks every 0.1 s, and leaves the processor to what he awaits."""
TIMEOUT_S = 60.0


def eventually(condition: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> bool:
    """Return whether the condition came true in time."""
    began_s = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began_s
        if waited_s >= timeout_s:
            return False
        interval_s = min(max(POLL_INTERVAL_S, RELATIVE_INTERVAL * waited_s), LONGEST_INTERVAL_S)
        time.sleep(min(interval_s, timeout_s - waited_s))
    return True


async def until(condition: Callable[[], bool], what: str = "the condition", timeout_s: float = TIMEOUT_S) -> None:
    """Return when the condition has come true; AssertionError when it does not in time. The loop runs meanwhile."""
    import asyncio  # the lab's commands wait too, and start fast

    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(POLL_INTERVAL_S)
