"""Trying again, with pauses, what may succeed later."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ktpy.errors import KtpyError

T = TypeVar("T")


@dataclass(slots=True)
class Backoff:
    """Pauses that double, each shortened by chance (https://sre.google: exponential back-off with full jitter)."""

    first_s: float = 0.2
    limit_s: float = 15.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _next_s: float = field(default=0.0, init=False)

    async def pause(self) -> None:
        self._next_s = min(self._next_s * 2 or self.first_s, self.limit_s)
        await self.sleep(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def reset(self) -> None:
        self._next_s = 0.0


async def retry(
    attempt: Callable[[], Awaitable[T]],
    pause: Callable[[], Awaitable[object]],
    *,
    within_s: float | None = None,
    clock: Callable[[], float] | None = None,
) -> T:
    """Call `attempt` until it succeeds, with `pause` after each failure that `is_transient`; others are raised at once.

    The last failure is raised when an attempt fails `within_s` seconds or more after the start; None means never.
    `clock` tells seconds; without it, the event loop does.
    """
    clock = clock or asyncio.get_running_loop().time
    began_s = clock()
    while True:
        try:
            return await attempt()
        except KtpyError as error:
            if not error.is_transient or (within_s is not None and clock() - began_s >= within_s):
                raise
        await pause()
