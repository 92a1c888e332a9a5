"""`--for 2h`: a session that ends by itself, as nobody remembers it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ktpy.aio.wakes import boottime_s
from ktpy.observe.events import Notice, Report

WARNED_S: Final = 60.0
"""So long before its end a session says that it comes."""
LOOKS_S: Final = 30.0
"""So often it is looked whether the time is over: no timer of asyncio's goes on while the laptop sleeps."""


class TimeLimit:
    """A TimeLimit is how long a session may last, by a clock that goes on while the laptop sleeps."""

    def __init__(
        self,
        limit_s: float = 0.0,
        *,
        clock: Callable[[], float] = boottime_s,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """It begins now; 0 is no limit."""
        self._limit_s, self._clock, self._sleep = limit_s, clock, sleep
        self._began_s = clock()

    @property
    def left_s(self) -> float | None:
        """The seconds until the end; None where there is no limit."""
        return max(0.0, self._limit_s - (self._clock() - self._began_s)) if self._limit_s else None

    @property
    def is_over(self) -> bool:
        return self.left_s == 0.0

    async def wait(self, report: Report) -> None:
        """Return when the time is over; before, say that it will be. Without a limit it never returns."""
        if self.left_s is None:
            await asyncio.Event().wait()
        if self._limit_s > 2 * WARNED_S:
            await self._until(WARNED_S)
            report(Notice(f"{self} of --for are over in a minute; the session ends then."))
        await self._until(0.0)

    async def _until(self, left_s: float) -> None:
        while (more_s := (self.left_s or 0.0) - left_s) > 0:
            await self._sleep(min(more_s, LOOKS_S))

    def __str__(self) -> str:
        for unit, seconds in (("h", 3600), ("m", 60)):
            if self._limit_s % seconds == 0:
                return f"{self._limit_s / seconds:g}{unit}"
        return f"{self._limit_s:g}s"
