"""Policies of an uplink: how long to wait before it dials again, and when it does not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from ktpy.aio.retry import Backoff
from ktpy.errors import ApiUnreachable, Forbidden, KtpyError, LinkLost, PodNotReady, Unauthorized
from ktpy.link.connection import KeyNotTaken

DIAL_INTERVAL_S: Final = 0.05
AWAY_LIMIT_S: Final = 1.0
"""The longest pause while the API server cannot be reached: what is away may be back any second."""
STARTING_LIMIT_S: Final = 0.2
"""The longest pause while the API server answers, but the pod does not yet."""
REFUSED_LIMIT_S: Final = 5.0
"""The longest pause while the API server says no (401, 403): somebody has to do something about it."""


class DialPolicy(Protocol):
    """A DialPolicy returns when an uplink is to dial again, or raises what ends the uplink.

    `began_s` is of the monotonic clock.
    """

    async def dial_failed(self, error: KtpyError, began_s: float) -> None: ...
    async def link_lost(self, reason: LinkLost) -> None: ...


class DialUntilUp:
    """The policy for a pod that may only just be starting: dial until it answers, and never after a lost link.

    The kubelet tells a pod's state up to a second late, while a port-forward works as soon as sshd listens. What will
    not go away by itself (401, 403, a pod that is gone, a foreign image) is raised at once; `timeout_s` after the
    first attempt began, the last failure is.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        interval_s: float = DIAL_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._timeout_s, self._interval_s = timeout_s, interval_s
        self._clock, self._sleep = clock, sleep
        self._deadline_s: float | None = None

    async def dial_failed(self, error: KtpyError, began_s: float) -> None:
        if self._deadline_s is None:
            self._deadline_s = began_s + self._timeout_s
        if not error.is_transient or isinstance(error, KeyNotTaken):
            raise error
        now_s = self._clock()
        if now_s >= self._deadline_s:
            if isinstance(error, ApiUnreachable):
                raise error
            raise PodNotReady(f"The pod did not accept an SSH session within {self._timeout_s:g} s. {error}") from error
        await self._sleep(max(0.0, began_s + self._interval_s - now_s))

    async def link_lost(self, reason: LinkLost) -> None:
        raise reason


class KeepDialling:
    """The policy that dials as long as failures pass by themselves, also after a lost link.

    Once a link has stood, credentials that have expired and rights that were taken away may come back.
    """

    def __init__(
        self, first: Backoff, after_loss: Backoff, on_failure: Callable[[KtpyError], None] = lambda _: None
    ) -> None:
        """`on_failure` is called with each failure that passes."""
        self._backoff, self._after_loss, self._on_failure = first, after_loss, on_failure
        self._passes: tuple[type[KtpyError], ...] = ()

    async def dial_failed(self, error: KtpyError, began_s: float) -> None:  # noqa: ARG002 - the pauses are its own
        if not (error.is_transient or isinstance(error, self._passes)):
            raise error
        self._on_failure(error)
        await self._backoff.pause()

    async def link_lost(self, reason: LinkLost) -> None:  # noqa: ARG002 - any
        self._backoff, self._passes = self._after_loss, (Unauthorized, Forbidden)
        self._backoff.reset()
        await self._backoff.pause()


class DialWithin(KeepDialling):
    """The policy of who dials as long as failures pass by themselves, after a lost link for a limited time."""

    def __init__(
        self,
        first: Backoff,
        after_loss: Backoff,
        within_s: float,
        may_return: Callable[[], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The loss is raised when an attempt fails that began `within_s` after it, or for good.

        `may_return` is asked, when the API server answers and the pod does not, whether it is still there.
        """
        super().__init__(first, after_loss)
        self._within_s, self._may_return, self._clock = within_s, may_return, clock
        self._loss: LinkLost | None = None
        self._deadline_s = 0.0

    async def dial_failed(self, error: KtpyError, began_s: float) -> None:
        if self._loss is None:
            await super().dial_failed(error, began_s)
            return
        is_away = isinstance(error, ApiUnreachable)
        if began_s >= self._deadline_s or not (is_away or await self._may_return()):
            raise self._loss from error
        try:
            await super().dial_failed(error, began_s)
        except KtpyError:
            raise self._loss from error

    async def link_lost(self, reason: LinkLost) -> None:
        self._loss, self._deadline_s = reason, self._clock() + self._within_s
        await super().link_lost(reason)


class DialAgain:
    """The policy of a session that comes back: once it stands it dials for ever, whatever the failure.

    Until then another policy decides.
    """

    def __init__(
        self,
        until_ready: DialPolicy,
        is_ready: Callable[[], bool],
        on_lost: Callable[[LinkLost], Awaitable[None]],
        on_failure: Callable[[KtpyError], Awaitable[None]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`is_ready` tells whether the session stands; it is told of each loss and of each failure from then on."""
        self._until_ready, self._is_ready = until_ready, is_ready
        self._on_lost, self._on_failure = on_lost, on_failure
        self._away = Backoff(0.1, AWAY_LIMIT_S, sleep)
        self._starting = Backoff(DIAL_INTERVAL_S, STARTING_LIMIT_S, sleep)
        self._refused = Backoff(0.5, REFUSED_LIMIT_S, sleep)

    async def dial_failed(self, error: KtpyError, began_s: float) -> None:
        if not self._is_ready():
            await self._until_ready.dial_failed(error, began_s)
            return
        await self._on_failure(error)
        backoff = self._away if isinstance(error, ApiUnreachable) else self._starting
        await (backoff if error.is_transient else self._refused).pause()

    async def link_lost(self, reason: LinkLost) -> None:
        if not self._is_ready():
            await self._until_ready.link_lost(reason)
            return
        for backoff in (self._away, self._starting, self._refused):
            backoff.reset()
        await self._on_lost(reason)
