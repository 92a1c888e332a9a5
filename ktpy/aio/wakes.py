"""Noticing that the whole process stood still: the laptop slept, or somebody stopped it (SIGSTOP)."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

TICK_S = 1.0


_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Where there is no CLOCK_BOOTTIME, on macOS, CLOCK_MONOTONIC goes on as well (clock_gettime(3) there)."""


def boottime_s() -> float:
    """Return a time that goes on while the laptop sleeps (clock_gettime(2))."""
    return time.clock_gettime(_CLOCK)


async def wakes(after_s: float, clock: Callable[[], float] = boottime_s) -> AsyncGenerator[float, None]:
    """Yield after each standstill of `after_s` seconds or more, at most TICK_S later, how many seconds it was."""
    before_s = clock()
    while True:
        await asyncio.sleep(TICK_S)
        now_s = clock()
        if now_s - before_s - TICK_S >= after_s:
            yield now_s - before_s
        before_s = now_s
