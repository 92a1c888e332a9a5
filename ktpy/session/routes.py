"""The routes of one intercept: one to each pod of the gateway, made again whenever it is lost."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from ktpy.cluster.client import Api
from ktpy.cluster.gateway_pods import GatewayPod, GatewayPods
from ktpy.cluster.port_forward import PortForward
from ktpy.cluster.refusals import NotFound
from ktpy.cluster.watch import Backoff
from ktpy.errors import ApiUnreachable, KtpyError, LinkLost, PodNotReady
from ktpy.session.local_port import LocalPort
from ktpy.tunnel.connection import KeyNotTaken
from ktpy.tunnel.key import ClientKey
from ktpy.tunnel.route import Route
from ktpy.tunnel.route_protocol import Counters, Hello

FIRST_RETRY_S, FIRST_RETRY_LIMIT_S = 0.05, 0.2
"""While the pod starts, and its agent has not read our key yet."""
RETRY_S, RETRY_LIMIT_S = 0.2, 5.0
"""After a link was lost; a laptop that wakes is back within seconds."""

logger = logging.getLogger(__name__)


class Routes:
    """`run` it; `first` tells when the first one stands. What ends `run` is what no waiting would mend."""

    def __init__(
        self,
        api: Api,
        pods: GatewayPods,
        key: ClientKey,
        hello: Hello,
        local_ports: Mapping[int, LocalPort],
        on_change: Callable[[], None],
    ) -> None:
        """`local_ports` by port of the Service. `on_change` is called when a route comes or goes, or has counted."""
        self._api, self._pods, self._key = api, pods, key
        self._hello, self._local_ports = hello, local_ports
        self._on_change = on_change
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._live: dict[str, dict[int, Counters]] = {}
        """By the pod's uid: what each standing route has counted."""
        self._ended: dict[int, Counters] = {}
        """What routes that are gone had counted."""
        self._staying: set[str] = set()
        """The uids of the pods that are not on their way out."""

    @property
    def pods(self) -> int:
        """How many of the gateway's pods lead to this laptop now."""
        return len(self._live)

    def counters(self, port: int) -> Counters:
        """Of all routes since the start; `is_up` when any of them takes requests now."""
        live = [of_pod.get(port, Counters()) for of_pod in self._live.values()]
        return sum(live, start=self._ended.get(port, Counters()))

    async def first(self) -> None:
        """Wait for the first route. `run` must run, and ends with an error when there never will be one."""
        await asyncio.shield(self._first)

    async def run(self) -> None:
        """Hold a route to each pod until cancelled.

        Raises RouteTaken when somebody has the port or the match, and what keeps us out for good: Forbidden,
        Unauthorized, PodFailed for a foreign image.
        """
        async with asyncio.TaskGroup() as tasks, aclosing(self._pods.follow()) as states:
            async for pods in states:
                present = {pod.uid: pod for pod in pods}
                new, self._staying = present.keys() - self._staying, set(present)
                for uid in new:
                    tasks.create_task(self._hold(present[uid]), name=f"route to {present[uid].name}")

    async def _hold(self, pod: GatewayPod) -> None:
        """Keep a route to one pod; one that is told to go drains, and its route ends with it."""
        forward = PortForward(self._api.endpoint, self._api.namespace, pod.name, pod.ssh_port)
        backoff = Backoff(FIRST_RETRY_S, FIRST_RETRY_LIMIT_S)
        while pod.uid in self._staying:
            try:
                await self._serve_once(pod, forward)
                backoff = Backoff(RETRY_S, RETRY_LIMIT_S)
            except (KeyNotTaken, PodNotReady, LinkLost, ApiUnreachable) as error:
                logger.info("no route to %s yet: %s", pod.name, error)
            except NotFound:
                return
            await backoff.pause()

    async def _serve_once(self, pod: GatewayPod, forward: PortForward) -> None:
        """Open a route and serve it until its link is lost."""
        counted: dict[int, Counters] = {}

        def count(counters: dict[int, Counters]) -> None:
            counted.update(counters)
            self._on_change()

        route = await Route.open(forward, self._key, self._hello, self._local_ports, count, port=pod.ssh_port)
        self._live[pod.uid] = counted
        if not self._first.done():
            self._first.set_result(None)
        self._on_change()
        try:
            reason = await route.serve()
            logger.info("the route to %s has ended: %s", pod.name, reason)
        finally:
            del self._live[pod.uid]
            for port, ended in counted.items():
                total = self._ended.get(port, Counters()) + ended
                self._ended[port] = Counters(total.requests, total.fallbacks)
            self._on_change()
            route.close()


def describe(routes: Routes | None, local_ports: Mapping[int, LocalPort]) -> list[dict[str, Any]]:
    """Each port's state, as `ktpy status --output json` shows it."""
    described = []
    for port, local_port in local_ports.items():
        counters = routes.counters(port) if routes else Counters()
        described.append(
            {
                "port": port,
                "local_port": local_port.number,
                "is_local_up": local_port.is_up,
                "is_up": counters.is_up,
                "requests": counters.requests,
                "fallbacks": counters.fallbacks,
            }
        )
    return described
