"""The routes of one intercept: one to each pod of the gateway, made again whenever it is lost."""

import asyncio
import logging
from contextlib import aclosing

from ktpy.aio.retry import Backoff
from ktpy.cluster.changes.gateway_pods import GatewayPod, GatewayPods
from ktpy.cluster.pods.agent_pod import CONTAINER
from ktpy.cluster.pods.pod_log import host_key
from ktpy.errors import ApiUnreachable, HostKeyMismatch, KtpyError, LinkLost, PodNotReady
from ktpy.kube.client import Api
from ktpy.kube.portforward.port_forward import PortForward
from ktpy.kube.refusals import NotFound
from ktpy.link.connection import AgentServer, KeyNotTaken
from ktpy.link.key import ClientKey
from ktpy.link.route import Route
from ktpy.serve.exposure import Exposure
from ktpy.wire.route import RouteCounters, RouteHello

FIRST_RETRY_S, FIRST_RETRY_LIMIT_S = 0.05, 0.2
"""While the pod starts, and its agent has not read our key yet."""
RETRY_S, RETRY_LIMIT_S = 0.2, 5.0
"""After a link was lost; a laptop that wakes is back within seconds."""

RESTART_GRACE_S = 15.0
"""The route to a container that has ended may seem to stand this long (keepalive)."""

logger = logging.getLogger(__name__)


class Routes:
    """`run` it; `first` tells when the first one stands. What ends `run` is what no waiting would mend."""

    def __init__(
        self,
        api: Api,
        pods: GatewayPods,
        key: ClientKey,
        hello: RouteHello,
        exposure: Exposure,
        timeout_s: float,
    ) -> None:
        self._api, self._pods, self._key = api, pods, key
        self._hello, self._exposure = hello, exposure
        self._timeout_s = timeout_s
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
                await asyncio.shield(self._first)
        except TimeoutError as exc:
            reason = self._hindrance.message if self._hindrance else "None of its pods could be reached."
            raise PodNotReady(
                f"No route into the gateway stood within {self._timeout_s:g} s. {reason}",
                hint="Allow more time with --pod-timeout.",
            ) from exc

    async def run(self) -> None:
        """Hold a route to each pod until cancelled.

        Raises RouteTaken when somebody has the port or the match, HostKeyMismatch, and what keeps us out for good:
        Forbidden, Unauthorized, PodFailed for a foreign image.
        """
        async with asyncio.TaskGroup() as tasks, aclosing(self._pods.follow()) as states:
            async for pods in states:
                present = {pod.uid: pod for pod in pods}
                new, self._staying = present.keys() - self._staying, set(present)
                for uid in new:
                    tasks.create_task(self._hold(present[uid]), name=f"route to {present[uid].name}")

    async def _hold(self, pod: GatewayPod) -> None:
        """Keep a route to one pod; one that is told to go drains, and its route ends with it."""
        forward = PortForward(self._api, self._api.namespace, pod.name, pod.ssh_port)
        backoff = Backoff(FIRST_RETRY_S, FIRST_RETRY_LIMIT_S)
        while pod.uid in self._staying:
            try:
                await self._serve_once(pod, forward)
                backoff = Backoff(RETRY_S, RETRY_LIMIT_S)
            except (KeyNotTaken, PodNotReady, LinkLost, ApiUnreachable) as error:
                self._hindrance = error
                logger.info("no route to %s yet: %s", pod.name, error)
            except NotFound:
                return
            await backoff.pause()

    async def _serve_once(self, pod: GatewayPod, forward: PortForward) -> None:
        """Open a route and serve it until its link is lost."""
        counted: dict[int, RouteCounters] = {}

        def count(counters: dict[int, RouteCounters]) -> None:
            counted.update(counters)
            self._exposure.count(pod.uid, counted)

        local_ports = self._exposure.local_ports
        route = await Route.open(forward, self._key, self._hello, local_ports, count, AgentServer(port=pod.ssh_port))
        try:
            self._exposure.begin(pod.uid, counted)
            if not self._first.done():
                self._first.set_result(None)
            async with asyncio.TaskGroup() as work:
                confirming = work.create_task(self._confirm(pod, route), name="confirm host key")
                reason = await route.serve()
                confirming.cancel()
            logger.info("the route to %s has ended: %s", pod.name, reason)
        finally:
            route.close()
            self._exposure.end(pod.uid)

    async def _confirm(self, pod: GatewayPod, route: Route) -> None:
        """Make sure that it is the pod that answers: raise HostKeyMismatch. Off the critical path."""
        try:
            printed = await host_key(self._api, pod.name, CONTAINER)
        except KtpyError as error:
            logger.info("the log of %s cannot be read: %s", pod.name, error)
            return
        if printed in (None, route.host_key):
            return
        try:
            async with asyncio.timeout(RESTART_GRACE_S):
                await route.wait_closed()  # the container has been started again since, with a key of its own
        except TimeoutError:
            raise HostKeyMismatch(
                f"The SSH host key is not the one that pod {pod.name} printed, so somebody is between; ktpy leaves.",
                hint="Tell whoever runs the cluster.",
            ) from None
