"""Running a session in an event loop, with signals that end it and one event that tells how it ended."""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from typing import Any, Protocol

from ktpy.aio.background_task import background_task
from ktpy.aio.task_group import first_failure
from ktpy.daemon.allocator import keep_freed_memory
from ktpy.daemon.parent import parent
from ktpy.daemon.time_limit import TimeLimit
from ktpy.errors import KtpyError
from ktpy.observe.events import Ended, Report

logger = logging.getLogger(__name__)

COLLECTING_AFTER_S = 5.0
"""Until then garbage is not looked for: a start makes next to none, and looking takes a tenth of its time.

What there is then, mostly of imports, is looked through only when a link was lost (`link/uplink.py`): it takes 70 ms,
with all that passes waiting.
"""
_TIME_IS_OVER = 0
"""No signal has this number."""
TIMED_OUT = 124
"""As timeout(1) has it."""
NOTHING_CHANGED = "Interrupted; nothing was changed."


class Session(Protocol):
    """A Session is a use case that runs until it is told to end."""

    name: str

    @property
    def ends_well(self) -> bool:
        """Whether a signal ends it as asked, with exit code 0: it stands, and no command of the user's is cut off."""

    @property
    def farewell(self) -> str:
        """The sentence that tells how it has ended, and that everything is undone."""

    async def run(self) -> int:
        """Return the exit code when it ends as asked; raise what else ends it. Everything is undone either way."""

    def handles_signal(self, signal_number: int) -> bool:
        """Return whether this signal is for ktpy, not for the user's command."""


def run(session: Session, report: Report, limit: TimeLimit | None = None) -> int:
    """Run the session to its end, or until its time is over; return the exit code. The last event reported is an Ended.

    A user's command that is cut off because the time is over makes it TIMED_OUT.
    """
    import resource  # not every system has it

    # Each connection is a descriptor; the soft limit of 1,024 is for programs that use select(2).
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    keep_freed_memory()
    ended: Ended | None = None
    try:
        with asyncio.Runner(loop_factory=_event_loop()) as runner:
            ended = runner.run(_supervise(session, report, limit))
    except KeyboardInterrupt:
        if ended is None:
            raise
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it has ended: only the last sentence is to come
    report(ended)
    return ended.exit_code


def _event_loop() -> Any:
    try:
        import uvloop
    except ImportError:  # no wheel for this platform: asyncio's own loop does
        return None
    return uvloop.new_event_loop


def log_loop_errors() -> None:
    """Send what the running event loop complains about to the log of -vv.

    Connections that are given up while they open (certificate not trusted, another one failed first) leave futures that
    nobody asks any more, and TLS that nobody closes. What matters comes out of a task that is awaited.
    """

    def note(_: asyncio.AbstractEventLoop, complaint: dict[str, Any]) -> None:
        logger.debug("%s", complaint["message"], exc_info=complaint.get("exception"))

    asyncio.get_running_loop().set_exception_handler(note)


async def _supervise(session: Session, report: Report = lambda _: None, limit: TimeLimit | None = None) -> Ended:
    """Run the session; a signal, the end of its time, and that of its parent, end it as a request to end does."""
    log_loop_errors()
    asyncio.get_running_loop().call_later(COLLECTING_AFTER_S, _begin_collecting)
    limit = limit or TimeLimit()
    running = asyncio.create_task(session.run(), name=session.name)
    causes: list[int] = []
    ends_well = False

    def interrupt(cause: int) -> None:
        nonlocal ends_well
        # A second one breaks neither the undoing, whose every step is bounded in time, nor who serves meanwhile.
        if not causes and session.handles_signal(cause):
            causes.append(cause)
            ends_well = session.ends_well
            running.cancel()

    async def time_out() -> None:
        await limit.wait(report)
        interrupt(_TIME_IS_OVER)

    _hear(interrupt)
    try:
        async with background_task(time_out(), "time limit"):
            exit_code = await running
    except asyncio.CancelledError:
        if not causes:
            raise
        if causes[0] == _TIME_IS_OVER:
            return Ended(0 if ends_well else TIMED_OUT, f"{limit} of --for are over. {session.farewell}")
        return Ended(0 if ends_well else 128 + causes[0], session.farewell)
    except Exception as error:
        return _ended_by(error)
    return Ended(exit_code, session.farewell)


def _begin_collecting() -> None:
    """Look for garbage from now on, among what is made from now on."""
    gc.freeze()
    gc.enable()


def _hear(interrupt: Callable[[int], None]) -> None:
    """Interrupt at a signal, and where the parent closes its end of the channel, on which it says nothing."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt, number)
    if (program := parent()) is not None:

        def hang_up() -> None:
            loop.remove_reader(program)
            interrupt(signal.SIGHUP)

        loop.add_reader(program, hang_up)


def _ended_by(error: BaseException) -> Ended:
    error = first_failure(error)
    logger.debug("the session failed", exc_info=error)
    if isinstance(error, KtpyError):
        return Ended(error.exit_code, error.message, error.hint, is_error=True)
    hint = "-vv shows the traceback. `ktpy clean --dry-run` tells whether anything was left."
    return Ended(1, f"Unexpected failure: {error!r}; ktpy has ended.", hint, is_error=True)
