"""The shadow pods of one session: one at a time, and another in its place when it is lost."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ktpy.aio.retry import Backoff
from ktpy.aio.task_group import task_group
from ktpy.cluster.pods.shadow import DELETE_TIMEOUT_S, Shadow
from ktpy.errors import ApiUnreachable, KtpyError, LinkLost

REPLACE_LIMIT_S: Final = 5.0
"""The longest pause between two shadow pods that could not be had."""
OUT_OF_REACH_S: Final = 20.0
"""A pod that is there by the API server's word, but does not answer this long (a dead node), is given up."""


class Shadows:
    """Shadows keeps one shadow pod while `run` runs. `delete` is the undo, to be registered before."""

    def __init__(
        self, make: Callable[[], Shadow], may_replace: Callable[[], bool], on_lost: Callable[[KtpyError], None]
    ) -> None:
        """`may_replace` is asked when a pod is lost: False ends `run` with the reason, else `on_lost` gets it.

        It gets a LinkLost, which passes, for a pod with which there was a session: another is the cure.
        """
        self._make, self._may_replace, self._on_lost = make, may_replace, on_lost
        self._present = make()
        self._created, self._has_pod = asyncio.Event(), asyncio.Event()
        self.pod: str | None = None
        """The name of the pod, once there is one."""
        self._condemned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pause = Backoff(0.05, REPLACE_LIMIT_S)
        self._stood = False
        """Whether there was a session with the present pod."""
        self._out_of_reach_since_s: float | None = None

    @property
    def present(self) -> Shadow:
        return self._present

    async def wait_created(self) -> None:
        """Wait for the first Job."""
        await self._created.wait()

    async def find(self) -> tuple[Shadow, str]:
        """Wait for the present shadow's pod; return both. `run` must run."""
        await self._has_pod.wait()
        return self._present, str(self.pod)

    async def run(self) -> None:
        """Create a shadow pod and follow it; when it is lost delete what is left of it, and begin anew.

        Raises what `Shadow.create` and `Shadow.supervise` do where no other may take its place.
        """
        while True:
            try:
                await self._follow(self._present)
            except KtpyError as error:
                if not self._may_replace():
                    raise
                self._on_lost(LinkLost(error.message) if self._stood else error)
            self._has_pod.clear()
            await self._pause.pause()
            with suppress(KtpyError):  # it removes itself
                await self._present.delete()
            self._present = self._make()

    async def _follow(self, shadow: Shadow) -> None:
        self._condemned = asyncio.get_running_loop().create_future()
        self._stood, self._out_of_reach_since_s = False, None
        async with task_group() as tasks:
            tasks.create_task(shadow.supervise(), name="supervise pod")
            await shadow.create()
            self._created.set()
            self.pod = await shadow.pod_name()
            self._has_pod.set()
            await self._condemned

    def stands(self) -> None:
        """Note that there is a session with the present pod."""
        self._stood, self._out_of_reach_since_s = True, None
        self._pause.reset()

    async def doubt(self, error: KtpyError) -> None:
        """Look whether the pod is still there, because a dial failed so. Else its watch may tell much later."""
        if isinstance(error, ApiUnreachable) or not self._stood or self._condemned.done():
            return
        now_s = asyncio.get_running_loop().time()
        since_s = self._out_of_reach_since_s = self._out_of_reach_since_s or now_s
        try:
            lost = await self._present.failure_now()
        except KtpyError:  # the dial's own error tells more
            return
        if lost is None and error.is_transient and now_s - since_s > OUT_OF_REACH_S:
            lost = error
        if lost is not None and not self._condemned.done():
            self._condemned.set_exception(lost)

    async def delete(self, timeout_s: float = DELETE_TIMEOUT_S) -> None:
        """Delete the present shadow's Job and pod."""
        await self._present.delete(timeout_s)


async def printed_host_key(shadow: Shadow, *, is_patient: bool) -> str | None:
    """Put the Job's deadline off now that the session stands, and return the key that the pod printed.

    It is None where the user may not read the pod's log: then the API server's word has to do. While the API server
    does not answer it is asked again, and with `is_patient` after every failure. The link stands meanwhile; if it does
    not, that is the error.
    """
    backoff = Backoff()
    while True:
        try:
            await shadow.push_deadline()
            return await shadow.host_key()
        except KtpyError as error:
            if not (error.is_transient or is_patient):
                raise
        await backoff.pause()
