"""What becomes of a session's link: since when it stands or is lost, how often it was lost, and what is told of it."""

import asyncio
from collections.abc import Callable

from ktpy.aio.wakes import boottime_s
from ktpy.errors import ApiUnreachable, KtpyError, LinkSilent
from ktpy.observe.events import LinkBack, LinkDown, Notice, Report
from ktpy.observe.status import LinkStatus

TELL_AFTER_S = 3.0


class Outages:
    """Outages keeps account of a session's link, and reports each change once."""

    def __init__(self, report: Report, clock: Callable[[], float] = boottime_s) -> None:
        self._report, self._clock = report, clock
        self._is_up = False
        self._since_s = clock()
        self._losses = 0
        self._reason: KtpyError | None = None
        self._back = asyncio.Event()
        self._refusals: dict[str, float] = {}
        """Since when each has been there in this outage; infinity once the user has been told."""

    @property
    def status(self) -> LinkStatus:
        reason = self._reason.message if self._reason else None
        return LinkStatus(self._is_up, round(self._clock() - self._since_s, 1), self._losses, reason)

    @property
    def is_api_away(self) -> bool:
        """Whether the link is lost, and the API server could not be reached the last time, or said nothing."""
        return not self._is_up and isinstance(self._reason, ApiUnreachable | LinkSilent)

    def stands(self, pod: str) -> None:
        """Note that there is a session with the pod."""
        if self._losses:
            self._report(LinkBack(pod, round(self._clock() - self._since_s, 1), self._losses))
            self._back.set()
        self._is_up, self._since_s = True, self._clock()
        self._refusals.clear()

    async def wait_back(self) -> None:
        """Wait until the link is back after an outage that nobody has waited for yet."""
        await self._back.wait()
        self._back.clear()

    def lost(self, reason: KtpyError) -> None:
        """Note that a link that stood is lost."""
        if self._is_up:
            self._is_up, self._since_s, self._reason = False, self._clock(), reason
            self._losses += 1
            self._report(LinkDown(reason.message))

    def datagrams_failed(self, error: KtpyError) -> None:
        """Report why datagrams have no connection of their own, while others have one."""
        if self._is_up:
            self._report(Notice(f"UDP and ping are unreachable, and TCP goes on: {error.message} ktpy keeps trying."))

    def failed(self, error: KtpyError) -> None:
        """Note why it is not back yet. What somebody has to do something about is reported, once in an outage.

        An API server that has just started refuses what it allows a moment later.
        """
        self._reason = error
        now_s = self._clock()
        if not error.is_transient and now_s - self._refusals.setdefault(error.message, now_s) >= TELL_AFTER_S:
            self._refusals[error.message] = float("inf")
            self._report(Notice(f"{error.message} ktpy keeps trying."))
