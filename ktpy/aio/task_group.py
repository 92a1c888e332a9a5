"""This module runs tasks side by side that fail with one error, not with a group."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

logger = logging.getLogger(__name__)


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a TaskGroup whose first failure comes out as itself, so that callers can catch what a function documents.

    Failures of other tasks become notes of the first, as in `first_failure`.
    """
    task = asyncio.current_task()
    cancellations = task.cancelling() if task else 0
    of_body: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            try:
                yield tasks
            except BaseException as error:
                if task and task.cancelling() == cancellations:  # else a task failed before and cancelled the body
                    of_body = error
                raise
    except BaseExceptionGroup as group:
        # TaskGroup lists failures as they come, but the body's last.
        failure = first_failure(group if of_body is None else BaseExceptionGroup("", [of_body, group]))
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context  # the group, otherwise


def first_failure(error: BaseException) -> BaseException:
    """Return the only failure in a group, or the first of several; an error that is no group is returned itself.

    Cancellations count only where there is nothing else. The other failures are kept as notes of the first, and are
    logged with their tracebacks at debug level.
    """
    leaves = list(dict.fromkeys(_leaves(error)))
    failures = [leaf for leaf in leaves if not isinstance(leaf, asyncio.CancelledError)] or leaves[:1]
    first, *others = failures
    for other in others:
        if (note := f"Another task failed as well: {other!r}") in getattr(first, "__notes__", ()):
            continue  # it was asked before
        first.add_note(note)
        logger.debug("another task failed as well", exc_info=other)
    return first


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for nested in error.exceptions:
            yield from _leaves(nested)
    else:
        yield error
