"""The routes of one intercept: one to each pod of the gateway.

SSH is loaded once the first pods know this session's key: their kubelets hand it on meanwhile, and port-forwards to
them are opened.
"""

import asyncio
import importlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from ktpy.aio.task_group import task_group
from ktpy.cluster.changes.gateway_pods import GatewayPod, GatewayPods
from ktpy.errors import KtpyError, PodNotReady
from ktpy.kube.client import Api
from ktpy.link.key import ClientKey
from ktpy.serve.exposure import Exposure
from ktpy.wire.route import RouteHello

if TYPE_CHECKING:
    from ktpy.kube.portforward.ahead import ForwardAhead


class Routes:
    """The routes of one intercept. `run` holds them; `first` waits for the first one."""

    def __init__(
        self, api: Api, pods: GatewayPods, key: ClientKey, hello: RouteHello, exposure: Exposure, timeout_s: float
    ) -> None:
        self._api, self._pods, self._key = api, pods, key
        self._hello, self._exposure = hello, exposure
        self._timeout_s = timeout_s
        self._first = asyncio.Event()
        self._hindrance: KtpyError | None = None
        """Why there is no route yet."""
        self._staying: set[str] = set()
        """The uids of the pods that are not on their way out."""

    async def first(self) -> None:
        """Wait for the first route. `run` must run, and ends with an error when there never will be one.

        Raises PodNotReady after the time that was given, with what was in the way.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._first.wait()
        except TimeoutError as exc:
            reason = self._hindrance.message if self._hindrance else "None of its pods could be reached."
            raise PodNotReady(
                f"No route into the gateway stood within {self._timeout_s:g} s. {reason}",
                hint="Allow more time with --pod-timeout.",
            ) from exc

    async def served(self) -> None:
        """Wait until requests come here, as far as local ports answer."""
        await self._exposure.until_served()

    def local_down(self) -> list[str]:
        """Return the ports whose local ports do not answer."""
        return self._exposure.local_down()

    async def run(self) -> None:
        """Hold a route to each pod until cancelled.

        Raises RouteTaken when somebody has the port or the match, HostKeyMismatch, and what keeps us out for good:
        Forbidden, Unauthorized, PodFailed for a foreign image.
        """
        loading: asyncio.Task[object] | None = None
        async with task_group() as tasks, aclosing(self._pods.follow()) as states:
            async for pods in states:
                loading = loading or tasks.create_task(_load(), name="load SSH")
                present = {pod.uid: pod for pod in pods}
                new, self._staying = present.keys() - self._staying, set(present)
                for uid in new:
                    tasks.create_task(self._hold(present[uid], loading), name=f"route to {present[uid].name}")

    async def _hold(self, pod: GatewayPod, loading: asyncio.Task[object]) -> None:
        from ktpy.kube.portforward.ahead import ForwardAhead
        from ktpy.kube.portforward.port_forward import PortForward

        forward = ForwardAhead(PortForward(self._api, self._api.namespace, pod.name, pod.ssh_port))
        try:
            await asyncio.shield(loading)
            await self._hold_over(forward, pod)
        finally:
            forward.close()

    async def _hold_over(self, forward: "ForwardAhead", pod: GatewayPod) -> None:
        from ktpy.serve.route import PodRoute

        def take_failure(error: KtpyError) -> None:
            self._hindrance = error

        await PodRoute(
            self._api,
            pod,
            forward,
            self._key,
            self._hello,
            self._exposure,
            is_staying=lambda: pod.uid in self._staying,
            on_up=self._first.set,
            on_failure=take_failure,
        ).hold()


async def _load() -> None:
    """Import what routes are made of beside the event loop."""
    await asyncio.to_thread(importlib.import_module, "ktpy.serve.route")
