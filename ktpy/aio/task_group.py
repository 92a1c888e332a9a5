"""This module runs tasks side by side that fail with one error, not with a group."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

logger = logging.getLogger(__name__)


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a TaskGroup whose first failure comes out as itself, so that callers can catch what a function documents.

    Failures of other tasks become notes of the first, as in `first_failure`. Who is cancelled while the group fails is
    so after the failure, at the next await: a failure that is caught does not undo a cancellation.
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
            finally:
                had_cancelled = _has_cancelled(tasks)
    except BaseExceptionGroup as group:
        if task and sys.version_info < (3, 13):
            if _has_cancelled(tasks) and not had_cancelled:
                task.uncancel()
            if task.cancelling() > cancellations:
                _cancel_again(task, cancellations)
        # TaskGroup lists failures as they come, but the body's last.
        failure = first_failure(group if of_body is None else BaseExceptionGroup("", [of_body, group]))
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context  # the group, otherwise


# Before Python 3.13 a TaskGroup that fails forgets that its task was cancelled meanwhile (cpython#116720). Where its
# body is over by then, it cancels the task itself and does not take that back, so that a time-out around it is none.


def _has_cancelled(tasks: asyncio.TaskGroup) -> bool:
    """Tell whether the group has cancelled its own task, to end the body."""
    return bool(getattr(tasks, "_parent_cancel_requested", False))


def _cancel_again(task: "asyncio.Task[Any]", cancellations: int) -> None:
    """Cancel the task once more, unless whoever has cancelled it, as asyncio.timeout, has taken that back by then."""

    def cancel() -> None:
        if task.cancelling() > cancellations:
            task.uncancel()
            task.cancel()

    asyncio.get_running_loop().call_soon(cancel)


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
