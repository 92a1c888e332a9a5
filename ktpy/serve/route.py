"""The route from one pod of a gateway: an uplink that is made again whenever it is lost, as long as the pod stays."""

import logging
from collections.abc import Callable

from ktpy.aio.retry import Backoff
from ktpy.cluster.changes.gateway_pods import GatewayPod
from ktpy.cluster.pods.agent_pod import CONTAINER
from ktpy.cluster.pods.pod_log import host_key
from ktpy.errors import KtpyError, LinkLost
from ktpy.frozen import dataclass
from ktpy.kube.client import Api
from ktpy.kube.refusals import NotFound
from ktpy.link.connection import AgentConnection, AgentServer, Connector
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


@dataclass(frozen=True, slots=True)
class PodRoute:
    """A PodRoute is the route from one pod."""

    api: Api
    pod: GatewayPod
    connector: Connector
    """Leads to its sshd."""
    key: ClientKey
    hello: RouteHello
    exposure: Exposure
    is_staying: Callable[[], bool]
    """Whether the pod is not on its way out."""
    on_up: Callable[[], None]
    on_failure: Callable[[KtpyError], None]
    """Is told what is in the way, each time."""

    async def hold(self) -> None:
        """Keep the route until the pod is gone; a pod that is told to go drains first. Raises what `Uplink` does."""
        uplink = self._uplink()
        try:
            await uplink.run()
        except NotFound:
            return
        finally:
            uplink.close()

    def _uplink(self) -> Uplink[dict[ServicePort, str]]:
        pod, exposure = self.pod, self.exposure
        counted: dict[ServicePort, RouteCounters] = {}
        agent_pod = AgentPod(
            pod.name,
            self.connector,
            self._printed_host_key,
            f"The SSH host key is not the one that pod {pod.name} printed, so somebody is between; ktpy leaves.",
            AgentServer(port=pod.ssh_port),
            RESTART_GRACE_S,
        )

        async def find_pod() -> AgentPod | None:
            return agent_pod if self.is_staying() else None

        def count(counters: dict[ServicePort, RouteCounters]) -> None:
            counted.update(counters)
            exposure.count(pod.uid, counted)

        def take_failure(error: KtpyError) -> None:
            self.on_failure(error)
            logger.info("no route to %s yet: %s", pod.name, error)

        async def hold(connection: AgentConnection[dict[ServicePort, str]]) -> LinkLost | None:
            exposure.begin(pod.uid, counted)
            self.on_up()
            try:
                if reason := await serve_forwards(connection, connection.hello, exposure.local_ports):
                    logger.info("the route to %s has ended: %s", pod.name, reason)
                return reason
            finally:
                exposure.end(pod.uid)
                counted.clear()

        return Uplink(
            find_pod,
            self.key,
            route_command(self.hello, count),
            KeepDialling(Backoff(FIRST_RETRY_S, FIRST_RETRY_LIMIT_S), Backoff(RETRY_S, RETRY_LIMIT_S), take_failure),
            hold=hold,
        )

    async def _printed_host_key(self) -> str | None:
        try:
            return await host_key(self.api, self.pod.name, CONTAINER)
        except KtpyError as error:
            logger.info("the log of %s cannot be read: %s", self.pod.name, error)
            return None
