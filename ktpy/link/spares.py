"""Channels to the agent's relay of connections, and those of them that carry none now."""

import asyncio
from typing import Final, cast

from ktpy.link.channel import Channel
from ktpy.link.connection import AgentConnection
from ktpy.link.ssh_library import asyncssh
from ktpy.wire.session import AgentHello

MAX_SPARES: Final = 32
"""So many channels are left open for new connections, which need not open one then."""


class Spares:
    """Spares are channels that have carried a connection to its end, or were opened ahead."""

    def __init__(self) -> None:
        self._channels: list[Channel] = []

    def __len__(self) -> int:
        return len(self._channels)

    def put(self, channel: Channel) -> None:
        """Keep a channel for another connection, if there are not too many."""
        if len(self._channels) >= MAX_SPARES:
            channel.abort()
            return
        channel.set_protocol(_Spare(self._channels, channel))
        self._channels.append(channel)

    def take(self) -> Channel | None:
        """Return a channel if there is one. What becomes of it is told the protocol that it is given."""
        return self._channels.pop() if self._channels else None

    def close(self) -> None:
        for channel in self._channels:
            channel.abort()


class _Spare(asyncio.Protocol):
    """A _Spare sees to it that a channel which ends is not used again."""

    def __init__(self, spares: list[Channel], channel: Channel) -> None:
        self._spares, self._channel = spares, channel

    def eof_received(self) -> bool:
        self._drop()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        self._drop()

    def _drop(self) -> None:
        if self._channel in self._spares:
            self._spares.remove(self._channel)


async def open_channel(connection: AgentConnection[AgentHello], channel: Channel) -> None:
    """Open a channel to the agent's relay. Raises OSError where there is none, and what asyncssh raises."""
    session, window_bytes = cast("asyncssh.SSHUNIXSession[bytes]", channel), connection.window_bytes
    if not (path := connection.hello.flows):
        raise OSError(f"the agent ({connection.hello.agent}) has none")
    await connection.ssh.create_unix_connection(lambda: session, path, encoding=None, window=window_bytes)
