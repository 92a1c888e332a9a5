"""Connections that come the other way: a socket in the pod that leads to a port of this laptop."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import asyncssh

from ktpy.link.channel import Channel, Link
from ktpy.link.splice import End

P = TypeVar("P", bound=asyncio.Protocol)

SSH_OPEN_CONNECT_FAILED = 2
"""RFC 4254, section 5.1."""


class LocalPort(Protocol):
    """A TCP port of this laptop, which somebody may or may not be listening on."""

    async def connect(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        """Raises OSError when nobody answers, and then `wait_down` returns at once."""

    async def wait_up(self) -> None:
        """Return when the port answers."""

    async def wait_down(self) -> None:
        """Return when the port does not answer."""


class _LocalEnd(End):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self._write(data)


class _PodEnd(End):
    """The end at the channel. It comes last, so it joins the two."""

    __slots__ = ("_local",)

    def __init__(self, local: _LocalEnd) -> None:
        super().__init__()
        self._local = local

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.join(self._local)

    def data_received(self, data: bytes) -> None:
        self._write(data)


async def accept(link: Link, local_port: LocalPort) -> asyncssh.SSHUNIXSession[bytes]:
    """Accept one connection in the pod: dial the local port first, and refuse the channel when nobody is there.

    asyncssh awaits this for each connection to a forwarded socket. sshd closes that socket when it raises.
    """
    try:
        _, local = await local_port.connect(_LocalEnd)
    except OSError as exc:
        raise asyncssh.ChannelOpenError(SSH_OPEN_CONNECT_FAILED, "the local port does not answer") from exc
    asyncio.get_running_loop().call_soon(_drop_unless_joined, local)
    # A Channel is a session for TCP; one for a unix socket has the same methods.
    return cast("asyncssh.SSHUNIXSession[bytes]", Channel(link, lambda: _PodEnd(local), ("pod", 0)))


def _drop_unless_joined(local: _LocalEnd) -> None:
    """asyncssh makes the channel at once, or never, when the SSH connection has gone meanwhile."""
    if local.other is None and local.transport is not None:
        local.transport.abort()
