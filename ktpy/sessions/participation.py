"""A session's time in the cluster: it enters, stays until it is over, and leaves.

Every undo is registered before its change. Routes are set up first and go last, so that requests which are under way
while the Service is given back are still served.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.aio.uninterrupted import uninterrupted
from ktpy.cluster.changes.change import ClusterChange
from ktpy.cluster.sharing.lease import EXPIRED_AFTER_S
from ktpy.errors import KtpyError, SessionLost
from ktpy.frozen import dataclass
from ktpy.serve.routes import Routes


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Callbacks are what a Participation calls when something happens."""

    step: Callable[[str], None]
    """A named step of the entry is done."""
    notice: Callable[[str], None]
    silence: Callable[[float, KtpyError], None]
    """The Lease could not be renewed for this many seconds, and why."""
    standing: Callable[[], None]
    """The entry is complete."""
    leaving: Callable[[], None]
    """The undo begins; its steps are told as those of the entry are."""
    left: Callable[[], None]
    """Nothing of this session is left in the cluster."""


class Participation:
    """A Participation is one session in the cluster, from its first change to its last."""

    def __init__(
        self, change: ClusterChange, routes: Routes, record: AbstractContextManager[None], callbacks: Callbacks
    ) -> None:
        """`record` is entered before anything is changed: it notes on the laptop what a killed session leaves."""
        self._change, self._routes, self._record, self._tell = change, routes, record, callbacks

    async def run(self, ending: "asyncio.Task[int]") -> int | None:
        """Take part until `ending` is done, then leave; the answer is its result.

        None when others have taken this session for dead while it was not heard from, as after the laptop's sleep.
        Raises what else ends it: what the entry, the routes or the guard raise, and SessionLost when somebody has taken
        it out although it was heard all the time. Whatever ends it, it leaves; raises what keeps it from that.
        """
        try:
            async with AsyncExitStack() as undo:
                undo.enter_context(self._record)
                routing = await undo.enter_async_context(background_task(self._routes.run(), "routes"))
                undo.push_async_callback(uninterrupted, self._leave)
                keeping = self._change.lease.keep(self._tell.silence, self._routes.local_down)
                renewing = await undo.enter_async_context(background_task(keeping, "renew the lease"))
                return await self._stay(ending, routing, renewing)
        except SessionLost:
            if self._change.lease.silence_s < EXPIRED_AFTER_S:
                raise  # it was heard all the time, so somebody has meant it
            return None

    async def _stay(
        self, ending: "asyncio.Task[int]", routing: "asyncio.Task[None]", renewing: "asyncio.Task[None]"
    ) -> int:
        """Enter, and stay until one of these tasks is over; what a task but `ending` raises is raised."""
        watched = (ending, routing, renewing)
        async with background_task(self._enter(), "enter") as entering:
            over = await first_of(*watched, entering)
        over.result()
        if over is entering:
            self._tell.standing()
            async with background_task(self._guard(), "guard") as guarding:
                over = await first_of(*watched, guarding)
            over.result()
        return ending.result()

    async def _enter(self) -> None:
        await self._change.enter(self._tell.step, self._routes.first)
        await self._routes.served()

    async def _guard(self) -> None:
        if self._change.guard is None:
            await asyncio.Event().wait()  # nobody else has a part in the change: there is nothing to guard
        else:
            await self._change.guard(self._tell.notice)

    async def _leave(self) -> None:
        if self._change.may_exist:
            self._tell.leaving()
        await self._change.leave(self._tell.step)
        self._tell.left()
