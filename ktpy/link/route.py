"""A route: one SSH connection to one pod of a gateway, and the sockets there that lead to ports of this laptop.

The route exists as long as the connection does. A socket is there only while its local port answers: the gateway
sends requests to the original pods as soon as it is gone.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import asyncssh

from ktpy.errors import LinkLost, PodNotReady, RouteTaken
from ktpy.link.accept import LocalPort, answer
from ktpy.link.channel import Link
from ktpy.link.connection import AgentConnection, AgentServer, AgentSession, Connector
from ktpy.link.key import ClientKey
from ktpy.wire.pod import ROUTE_BEAT_S
from ktpy.wire.route import BEAT, Refusal, RouteCounters, RouteHello, parse_answer, parse_counters

ROUTE_COMMAND: Final = "ktpy-agent route"

OnCounters = Callable[[dict[int, RouteCounters]], None]

logger = logging.getLogger(__name__)


class RouteNotYet(PodNotReady):
    """This pod of the gateway takes no route just now; in a moment it will, or another one."""


class Route(AgentConnection):
    """Open it, then `serve` until the link is lost or the task is cancelled, then `close`."""

    def __init__(self, hello: RouteHello, local_ports: Mapping[int, LocalPort]) -> None:
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
        hello: RouteHello,
        local_ports: Mapping[int, LocalPort],
        on_counters: OnCounters,
        server: AgentServer,
        *,
        beat_interval_s: float = ROUTE_BEAT_S,
    ) -> "Route":
        """Connect and register. `local_ports` has one for each port of `hello`.

        Raises what the connector raises, LinkLost, KeyNotTaken as long as the pod has not heard of our key,
        RouteTaken when somebody else has the port or the match, RouteNotYet when the pod takes none just now, PodFailed
        for a foreign image.
        """
        route = cls(hello, local_ports)
        session = AgentSession(
            route,
            ROUTE_COMMAND,
            opening=hello.line(),
            beat=BEAT,
            beat_interval_s=beat_interval_s,
            parse_answer=lambda line: read_answer(line, hello),
            on_line=lambda line: on_counters(parse_counters(line)),
        )
        route._session = session
        route._sockets = await route._connect(
            connector,
            client_key,
            session,
            server,
        )
        return route

    async def serve(self) -> LinkLost | None:
        """Lead the sockets to the local ports until the connection ends; returns why it did, None after `close`."""
        async with asyncio.TaskGroup() as forwards:
            tasks = [
                forwards.create_task(self._keep_forward(port, path), name=f"forward port {port}")
                for port, path in self._sockets.items()
            ]
            reason = await self.wait_closed()
            for task in tasks:
                task.cancel()
        return reason

    async def _keep_forward(self, port: int, path: str) -> None:
        local_port = self._local_ports[port]
        while not self._closed.done():
            await local_port.wait_up()
            forward = _Forward(self._link, local_port)
            try:
                assert self._connection is not None  # noqa: S101  # since `open`
                await forward.open(self._connection, path, self._window_bytes())
            except asyncssh.ChannelListenError:
                self.lose(LinkLost(f"The agent's sshd does not make the socket {path}."))
                return
            except (asyncssh.Error, OSError) as exc:
                self.lose(LinkLost(f"The link to the pod was lost: {exc}."))
                return
            logger.info("port %d: the gateway may send requests", port)
            await local_port.wait_down()
            logger.info("port %d: the local port does not answer", port)
            await forward.withdraw()


class _Forward:
    """A socket in the pod that leads to a local port, until it is withdrawn."""

    def __init__(self, link: Link, local_port: LocalPort) -> None:
        self._link = link
        self._local_port = local_port
        self._listener: asyncssh.SSHListener | None = None
        self._is_withdrawn = False

    async def open(self, connection: asyncssh.SSHClientConnection, path: str, window_bytes: int) -> None:
        self._listener = await connection.create_unix_server(self._answer, path, encoding=None, window=window_bytes)

    async def withdraw(self) -> None:
        """Take the socket away; returns when sshd has."""
        if self._listener is None:
            return
        if not self._is_withdrawn:
            self._is_withdrawn = True
            self._listener.close()
        await self._listener.wait_closed()

    async def _answer(self) -> asyncssh.SSHUNIXSession[bytes]:
        """The gateway tries again at once what we refuse, so the socket has to be gone before it hears of it.

        The other way round it tried the same again, over and over, and gave up with an error for the client.
        """
        try:
            return await answer(self._link, self._local_port)
        except asyncssh.ChannelOpenError:
            await self.withdraw()
            raise


def read_answer(line: bytes, hello: RouteHello) -> dict[int, str]:
    """Read the gateway's answer. Raises RouteTaken, RouteNotYet, ValueError for what is no answer to `hello`."""
    answered = parse_answer(line, hello.ports)
    if not isinstance(answered, Refusal):
        return answered
    sentence = f"{answered.sentence.rstrip('.')}."
    if answered.for_now:
        raise RouteNotYet(sentence)
    hint = "Nothing was changed. Ask the holder, or take another port or match." if answered.holder else None
    raise RouteTaken(sentence, hint=hint)
