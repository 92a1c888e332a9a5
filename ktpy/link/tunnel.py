"""The SSH connection to the agent in the shadow pod, given out as channels into the cluster."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, TypeVar

import asyncssh

from ktpy.link.channel import Channel, open_failure
from ktpy.link.connection import DIAL_INTERVAL_S, AgentConnection, AgentServer, AgentSession, Connector, dial
from ktpy.link.key import ClientKey
from ktpy.wire.pod import SESSION_BEAT_S
from ktpy.wire.session import AgentHello

P = TypeVar("P", bound=asyncio.Protocol)

SESSION_COMMAND: Final = "ktpy-agent session"


class SshTunnel(AgentConnection):
    """An SSH connection to the shadow pod. `create_connection` dials from inside the pod."""

    def __init__(self) -> None:
        super().__init__()
        self.hello = AgentHello("", (), ())
        self._openings: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        connector: Connector,
        client_key: ClientKey,
        server: AgentServer,
        *,
        beat_interval_s: float = SESSION_BEAT_S,
    ) -> "SshTunnel":
        """Connect, log in, and read the agent's hello.

        Raises what the connector raises (PortForwardNotYet when nobody listens in the pod yet), LinkLost when the
        connection breaks on the way, PodFailed when what answers is not our agent or does not take our key.
        """
        tunnel = cls()
        session = AgentSession(tunnel, SESSION_COMMAND, beat_interval_s=beat_interval_s, parse_answer=AgentHello.parse)
        tunnel.hello = await tunnel._connect(
            connector,
            client_key,
            session,
            server,
        )
        return tunnel

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod, as `loop.create_connection` does from here.

        `host` must be an address: sshd resolves a name with everything else on the connection waiting. Raises the
        OSError that `connect` raised in the pod (see `open_failure`), ConnectionAbortedError when the link is lost.
        There is no time limit but the pod's kernel's (two minutes): cancel it, which leaves nothing behind.
        """
        ip_address(host)
        if self._connection is None or self._closed.done():
            raise ConnectionAbortedError(str(self._reason or "The tunnel is closed."))
        channel = Channel(self._link, protocol_factory, (host, port))
        # asyncssh forgets a channel whose opening is cancelled, and sshd would hold it: so let it open, then close it.
        opening = asyncio.get_running_loop().create_task(self._open(channel, host, port), name=f"open {host}:{port}")
        self._openings.add(opening)
        opening.add_done_callback(self._openings.discard)
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            channel.abandon()
            opening.add_done_callback(_retrieve)
            raise
        except asyncssh.ChannelOpenError as exc:
            if self._closed.done():
                raise ConnectionAbortedError(str(self._reason or "The tunnel is closed.")) from exc
            raise open_failure(exc) from exc
        return channel, channel.get_protocol()  # type: ignore[return-value]  # what protocol_factory made

    async def _open(self, channel: Channel, host: str, port: int) -> None:
        assert self._connection is not None  # noqa: S101  # create_connection has looked
        await self._connection.create_connection(
            lambda: channel, host, port, encoding=None, window=self._window_bytes()
        )


async def dial_until(
    connector: Connector,
    client_key: ClientKey,
    server: AgentServer,
    *,
    timeout_s: float,
    interval_s: float = DIAL_INTERVAL_S,
) -> SshTunnel:
    """Open a tunnel to a pod that may only just be starting, see `dial`."""
    return await dial(lambda: SshTunnel.open(connector, client_key, server), timeout_s=timeout_s, interval_s=interval_s)


def _retrieve(opening: "asyncio.Task[None]") -> None:
    """The opener was cancelled, and nobody else asks how it went."""
    if not opening.cancelled():
        opening.exception()
