"""Logging what was done and how long it took: `-v` shows steps, `-vv` each request and watch as well.

As httpcore does: `started` and then `complete` or `failed`, so that a user's log shows what hung. No secret may be a
detail: names, paths and methods only.
"""

import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def traced(name: str, detail: object = "", *, level: int = logging.INFO) -> Iterator[None]:
    """Log the start of the block, and its end with its time and the class of what it raises."""
    step = f"{name} {detail}" if detail else name
    logger.log(level, "%s: started", step)
    began_s = time.monotonic()
    try:
        yield
    except BaseException as error:  # CancelledError, too: the step did not come to its end
        logger.log(level, "%s: failed after %.3f s: %s", step, time.monotonic() - began_s, type(error).__name__)
        raise
    logger.log(level, "%s: complete in %.3f s", step, time.monotonic() - began_s)


def stage(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Trace a stage of a session's start by the name of its function."""

    @wraps(work)
    async def run_stage(*arguments: P.args, **named: P.kwargs) -> T:
        with traced("stage", work.__name__.replace("_", " ").strip()):
            return await work(*arguments, **named)

    return run_stage
