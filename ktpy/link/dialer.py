"""Connections from inside the pod, as channels of an SSH connection to its agent."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeVar

from ktpy.link.channel import Channel, open_failure
from ktpy.link.connection import AgentConnection
from ktpy.link.ssh_library import asyncssh

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """A Dialer dials from inside the pod over one connection to its agent."""

    def __init__(self, connection: AgentConnection[Any]) -> None:
        self.connection = connection
        self._openings: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        """How many channels are open, or about to be."""
        return self.connection.link.open_channels + len(self._openings)

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod, as `loop.create_connection` does from here.

        `host` is an address: sshd resolves a name with everything else on the connection waiting. Raises what
        `open_failure` returns, and ConnectionAbortedError when the link is lost. Only the pod's kernel limits the
        time (two minutes); a cancelled call leaves nothing behind.
        """
        ip_address(host)
        if self.connection.is_closed:
            raise self._aborted()
        channel = self._channel(protocol_factory, host, port)
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
            if self.connection.is_closed:
                raise self._aborted() from exc
            raise open_failure(exc) from exc
        return channel, channel.get_protocol()  # type: ignore[return-value]  # what protocol_factory made

    def _channel(self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Channel:
        return Channel(self.connection.link, protocol_factory, (host, port))

    async def _open(self, channel: Channel, host: str, port: int) -> None:
        window_bytes = self.connection.window_bytes
        await self.connection.ssh.create_connection(lambda: channel, host, port, encoding=None, window=window_bytes)

    def _aborted(self) -> ConnectionAbortedError:
        return ConnectionAbortedError(str(self.connection.reason or "The tunnel is closed."))


def _retrieve(opening: "asyncio.Task[None]") -> None:
    """Retrieve the result, which nobody else does once the opener is cancelled."""
    if not opening.cancelled():
        opening.exception()
