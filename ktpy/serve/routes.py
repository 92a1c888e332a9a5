"""The routes of one intercept: one to each pod of the gateway, made again whenever it is lost."""

import asyncio
import logging
from contextlib import aclosing

from ktpy.aio.retry import Backoff
from ktpy.aio.task_group import task_group
from ktpy.cluster.changes.gateway_pods import GatewayPod, GatewayPods
from ktpy.cluster.pods.agent_pod import CONTAINER
from ktpy.cluster.pods.pod_log import host_key
from ktpy.errors import KtpyError, LinkLost, PodNotReady
from ktpy.kube.client import Api
from ktpy.kube.portforward.port_forward import PortForward
from ktpy.kube.refusals import NotFound
from ktpy.link.connection import AgentConnection, AgentServer
from ktpy.link.dial_policy import KeepDialling
from ktpy.link.forwards import serve_forwards
from ktpy.link.key import ClientKey
from ktpy.link.route import route_command
from ktpy.link.uplink import AgentPod, Uplink
from ktpy.serve.exposure import Exposure
from ktpy.wire.route import RouteCounters, RouteHello, ServicePort

FIRST_RETRY_S, FIRST_RETRY_LIMIT_S = 0.05, 0.2
"""While the pod starts, and its agent has not read our key yet."""
RETRY_S, RETRY_LIMIT_S = 0.2, 5.0
"""After a link was lost; a laptop that wakes is back within seconds."""

RESTART_GRACE_S = 15.0
"""The route to a container that has ended may seem to stand this long (keepalive)."""
logger = logging.getLogger(__name__)


class Routes:
    """The routes of one intercept. `run` holds them; `first` waits for the first one."""

    def __init__(
        self, api: Api, pods: GatewayPods, key: ClientKey, hello: RouteHello, exposure: Exposure, timeout_s: float
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

    async def served(self) -> None:
        """Wait until requests come here, as far as local ports answer."""
        await self._exposure.until_served()

    async def run(self) -> None:
        """Hold a route to each pod until cancelled.

        Raises RouteTaken when somebody has the port or the match, HostKeyMismatch, and what keeps us out for good:
        Forbidden, Unauthorized, PodFailed for a foreign image.
        """
        async with task_group() as tasks, aclosing(self._pods.follow()) as states:
            async for pods in states:
                present = {pod.uid: pod for pod in pods}
                new, self._staying = present.keys() - self._staying, set(present)
                for uid in new:
                    tasks.create_task(self._hold(present[uid]), name=f"route to {present[uid].name}")

    async def _hold(self, pod: GatewayPod) -> None:
        """Keep a route to one pod until the pod is gone; a pod that is told to go drains first."""
        uplink = self._uplink(pod)
        try:
            await uplink.run()
        except NotFound:
            return
        finally:
            uplink.close()

    def _uplink(self, pod: GatewayPod) -> Uplink[dict[ServicePort, str]]:
        counted: dict[ServicePort, RouteCounters] = {}
        agent_pod = AgentPod(
            pod.name,
            PortForward(self._api, self._api.namespace, pod.name, pod.ssh_port),
            lambda: self._printed_host_key(pod),
            f"The SSH host key is not the one that pod {pod.name} printed, so somebody is between; ktpy leaves.",
            AgentServer(port=pod.ssh_port),
            RESTART_GRACE_S,
        )

        async def find_pod() -> AgentPod | None:
            return agent_pod if pod.uid in self._staying else None

        def count(counters: dict[ServicePort, RouteCounters]) -> None:
            counted.update(counters)
            self._exposure.count(pod.uid, counted)

        def take_failure(error: KtpyError) -> None:
            self._hindrance = error
            logger.info("no route to %s yet: %s", pod.name, error)

        async def hold(connection: AgentConnection[dict[ServicePort, str]]) -> LinkLost | None:
            self._exposure.begin(pod.uid, counted)
            if not self._first.done():
                self._first.set_result(None)
            try:
                if reason := await serve_forwards(connection, connection.hello, self._exposure.local_ports):
                    logger.info("the route to %s has ended: %s", pod.name, reason)
                return reason
            finally:
                self._exposure.end(pod.uid)
                counted.clear()

        return Uplink(
            find_pod,
            self._key,
            route_command(self._hello, count),
            KeepDialling(Backoff(FIRST_RETRY_S, FIRST_RETRY_LIMIT_S), Backoff(RETRY_S, RETRY_LIMIT_S), take_failure),
            hold=hold,
        )

    async def _printed_host_key(self, pod: GatewayPod) -> str | None:
        try:
            return await host_key(self._api, pod.name, CONTAINER)
        except KtpyError as error:
            logger.info("the log of %s cannot be read: %s", pod.name, error)
            return None
