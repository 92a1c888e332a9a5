"""A route: one SSH connection to one pod of a gateway, and the sockets there that lead to ports of this laptop.

The route exists as long as the connection does. A socket is there only while its local port answers: the gateway
sends requests to the original pods as soon as it is gone.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import asyncssh

from ktpy.errors import LinkLost
from ktpy.tunnel.connection import (
    KEEPALIVE_INTERVAL_S,
    OPEN_TIMEOUT_S,
    USERNAME,
    AgentConnection,
    AgentSession,
    Connector,
)
from ktpy.tunnel.key import ClientKey
from ktpy.tunnel.reverse import LocalPort, answer
from ktpy.tunnel.route_protocol import BEAT, Counters, Hello, parse_answer, parse_counters

ROUTE_COMMAND: Final = "ktpy-agent route"
BEAT_INTERVAL_S: Final = 1.0
"""The agent ends the route after 4 s of silence."""

OnCounters = Callable[[dict[int, Counters]], None]

logger = logging.getLogger(__name__)


class Route(AgentConnection):
    """Open it, then `serve` until the link is lost or the task is cancelled, then `close`."""

    def __init__(self, hello: Hello, local_ports: Mapping[int, LocalPort]) -> None:
        super().__init__()
        self._hello = hello
        self._local_ports = local_ports
        self._sockets: dict[int, str] = {}
        self._session: AgentSession[dict[int, str]] | None = None

    @classmethod
    async def open(
        cls,
        connector: Connector,
        client_key: ClientKey,
        hello: Hello,
        local_ports: Mapping[int, LocalPort],
        on_counters: OnCounters,
        *,
        host: str = "pod",
        port: int = 2222,
        username: str = USERNAME,
        timeout_s: float = OPEN_TIMEOUT_S,
        beat_interval_s: float = BEAT_INTERVAL_S,
        keepalive_interval_s: float = KEEPALIVE_INTERVAL_S,
    ) -> "Route":
        """Connect and register. `local_ports` has one for each port of `hello`.

        Raises what the connector raises, LinkLost, KeyNotTaken as long as the pod has not heard of our key,
        RouteTaken when somebody else has the port or the match, PodFailed for a foreign image.
        """
        route = cls(hello, local_ports)
        session = AgentSession(
            route,
            ROUTE_COMMAND,
            opening=hello.line(),
            beat=BEAT,
            beat_interval_s=beat_interval_s,
            parse_answer=lambda line: parse_answer(line, hello.ports),
            on_line=lambda line: on_counters(parse_counters(line)),
        )
        route._session = session
        route._sockets = await route._connect(
            connector,
            client_key,
            session,
            host=host,
            port=port,
            username=username,
            timeout_s=timeout_s,
            keepalive_interval_s=keepalive_interval_s,
        )
        return route

    async def serve(self) -> LinkLost | None:
        """Lead the sockets to the local ports until the connection ends; returns why it did, None after `close`."""
        async with asyncio.TaskGroup() as forwards:
            tasks = [
                forwards.create_task(self._forward(port, path), name=f"forward port {port}")
                for port, path in self._sockets.items()
            ]
            reason = await self.wait_closed()
            for task in tasks:
                task.cancel()
        return reason

    async def _forward(self, port: int, path: str) -> None:
        local_port = self._local_ports[port]
        while not self._closed.done():
            await local_port.wait_up()
            try:
                listener = await self._listen(local_port, path)
            except asyncssh.ChannelListenError:
                self.lose(LinkLost(f"The agent's sshd does not make the socket {path}."))
                return
            except (asyncssh.Error, OSError) as exc:
                self.lose(LinkLost(f"The link to the pod was lost: {exc}."))
                return
            logger.info("the local port for port %d answers: the gateway may send requests", port)
            await local_port.wait_down()
            logger.info("the local port for port %d does not answer", port)
            listener.close()
            await listener.wait_closed()

    async def _listen(self, local_port: LocalPort, path: str) -> asyncssh.SSHListener:
        assert self._connection is not None  # noqa: S101  # since `open`
        return await self._connection.create_unix_server(
            lambda: answer(self._link, local_port), path, encoding=None, window=self._window_bytes()
        )
