"""An event loop whose clock skips what is only waited for: a test of a minute's silence takes milliseconds.

Sockets stay real. Time is skipped up to the next timer once nothing has come on them for GRACE_S, and while nothing
runs in a thread of the loop's executor. Loopback hardly needs it: what one socket of a process sends, the other has by
the end of that system call. It is for kernels that leave the delivery to a thread of theirs when the machine is busy.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

GRACE_S = 0.002


class SkippingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0
        self.threads = 0
        """Calls under way in the executor, whose ends come in real time."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= GRACE_S or self.threads:
            return super().select(timeout)
        ready = super().select(GRACE_S)
        if not ready:
            self.skipped_s += timeout - GRACE_S
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped_s

    def run_in_executor(  # type: ignore[override] # the type of *args needs syntax that 3.11 has and mypy not here
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        def ended(_: object) -> None:
            self._skipping.threads -= 1

        future = super().run_in_executor(executor, func, *args)
        self._skipping.threads += 1
        future.add_done_callback(ended)
        return future
