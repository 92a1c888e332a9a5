"""Forwards: unix sockets in a pod that lead to ports of this laptop, TCP or UDP.

A socket is there only while its local port answers, or is awaited, because the gateway sends requests to the original
pods as soon as the socket is gone.
"""

import asyncio
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

from ktpy.errors import LinkLost
from ktpy.link.channel import Channel
from ktpy.link.connection import AgentConnection
from ktpy.link.splice import End
from ktpy.link.ssh_library import asyncssh
from ktpy.link.taps import Taps
from ktpy.link.udp_forward import UdpForward, UdpPort
from ktpy.wire.route import ServicePort

P = TypeVar("P", bound=asyncio.Protocol)

SSH_OPEN_CONNECT_FAILED = 2
"""RFC 4254, section 5.1."""
RESTART_S: Final = 2.0
"""A connection that comes while the local port closes waits this long for a program to listen there again."""
SOCKET_TIMEOUT_S: Final = 2.0
_SOCKET_RETRY_S: Final = 0.05

logger = logging.getLogger(__name__)


class ForwardedPort(Protocol):
    """A ForwardedPort is a TCP port of this laptop, which may be up or down.

    `connect` raises OSError when it is down. `wait_down` returns when it is down and not awaited, `settle` when it
    is awaited no more, with whether it is up. `doubt` finds out whether the port closes connections at once, and
    returns whether it is up. `taps` shows what passes to who watches.
    """

    @property
    def taps(self) -> Taps: ...
    @property
    def is_awaited(self) -> bool: ...
    async def settle(self) -> bool: ...
    async def connect(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]: ...
    async def doubt(self) -> bool: ...
    async def wait_up(self) -> None: ...
    async def wait_down(self) -> None: ...


async def serve_forwards(
    connection: AgentConnection[Any],
    sockets: Mapping[ServicePort, str],
    local_ports: Mapping[ServicePort, ForwardedPort | UdpPort],
) -> LinkLost | None:
    """Lead the sockets to the local ports until the connection ends; return why it did, None after `close`.

    `sockets` has a path in the pod for each port, `local_ports` the port of this laptop that it leads to.
    """
    async with asyncio.TaskGroup() as forwards:
        tasks = [
            forwards.create_task(_keep_forward(connection, port, path, local_ports[port]), name=f"forward port {port}")
            for port, path in sockets.items()
        ]
        reason = await connection.wait_closed()
        for task in tasks:
            task.cancel()
    return reason


async def _keep_forward(
    connection: AgentConnection[Any], port: ServicePort, path: str, local_port: ForwardedPort | UdpPort
) -> None:
    while not connection.is_closed:
        await local_port.wait_up()
        forward = (
            _DatagramForward(connection, local_port)
            if isinstance(local_port, UdpPort)
            else _StreamForward(connection, local_port)
        )
        try:
            await forward.open(path)
        except asyncssh.ChannelListenError:
            connection.lose(LinkLost(f"The agent's sshd does not make the socket {path}."))
            return
        except (asyncssh.Error, OSError) as exc:
            connection.lose(LinkLost(f"The link to the pod was lost: {exc}."))
            return
        logger.info("port %s: the gateway may send requests", port)
        await local_port.wait_down()
        logger.info("port %s: the local port does not answer", port)
        await forward.withdraw()


class _Forward(ABC):
    """A socket in the pod that leads to a local port, until it is withdrawn."""

    def __init__(self, connection: AgentConnection[Any]) -> None:
        self._connection = connection
        self._listener: asyncssh.SSHListener | None = None
        self._is_withdrawn = False

    async def open(self, path: str) -> None:
        """Make the socket. Raises asyncssh.ChannelListenError when sshd makes none within SOCKET_TIMEOUT_S.

        sshd makes none in the place of another; the agent takes away what a withdrawn one has left some 0.1 s later.
        """
        loop = asyncio.get_running_loop()
        ended_s = loop.time() + SOCKET_TIMEOUT_S
        while self._listener is None:
            try:
                self._listener = await self._connection.ssh.create_unix_server(
                    self._accept, path, encoding=None, window=self._connection.window_bytes
                )
            except asyncssh.ChannelListenError:
                if loop.time() > ended_s:
                    raise
                await asyncio.sleep(_SOCKET_RETRY_S)

    async def withdraw(self) -> None:
        """Take the socket away; returns when sshd has."""
        if self._listener is not None:
            if not self._is_withdrawn:
                self._is_withdrawn = True
                self._listener.close()
            await self._listener.wait_closed()

    @abstractmethod
    async def _accept(self) -> asyncssh.SSHUNIXSession[bytes]:
        """Take a connection in the pod; asyncssh refuses the channel when this raises."""

    def _channel(self, protocol_factory: Callable[[], asyncio.Protocol]) -> asyncssh.SSHUNIXSession[bytes]:
        """Return a session whose transport the protocol gets."""
        # A Channel is a session for TCP; one for a unix socket has the same methods.
        return cast("asyncssh.SSHUNIXSession[bytes]", Channel(self._connection.link, protocol_factory, ("pod", 0)))


class _DatagramForward(_Forward):
    """What comes over it ends with it: the agent, which has the clients, turns to the original pods then."""

    def __init__(self, connection: AgentConnection[Any], local_port: UdpPort) -> None:
        super().__init__(connection)
        self._local_port = local_port
        self._accepted: list[UdpForward] = []

    async def withdraw(self) -> None:
        for accepted in self._accepted:
            accepted.close()
        await super().withdraw()

    async def _accept(self) -> asyncssh.SSHUNIXSession[bytes]:
        accepted = UdpForward(self._local_port)
        self._accepted.append(accepted)
        return self._channel(lambda: accepted)


class _StreamForward(_Forward):
    def __init__(self, connection: AgentConnection[Any], local_port: ForwardedPort) -> None:
        super().__init__(connection)
        self._local_port = local_port

    async def _accept(self) -> asyncssh.SSHUNIXSession[bytes]:
        """Dial the local port for one connection in the pod; asyncssh refuses the channel when this raises."""
        try:
            local = await self._dial()
        except OSError as exc:
            raise asyncssh.ChannelOpenError(SSH_OPEN_CONNECT_FAILED, "the local port does not answer") from exc
        asyncio.get_running_loop().call_soon(drop_unless_joined, local)
        return self._channel(lambda: PodEnd(local, self._local_port.taps))

    async def _dial(self) -> "LocalEnd":
        """Dial, and once more if a program that restarts is there again within RESTART_S.

        For the gateway the connection stands already: what it sends with it, it may not be able to send elsewhere. It
        tries a refused connection again at once, over and over, so the socket is taken away before that is told.
        """
        await self._settle()
        try:
            return await self._connect()
        except OSError:
            if self._local_port.is_awaited:
                await self._settle()
            else:
                await self.withdraw()
                with suppress(TimeoutError):
                    async with asyncio.timeout(RESTART_S):
                        await self._local_port.wait_up()
        return await self._connect()

    async def _settle(self) -> None:
        """Wait as long as the local port is awaited. Raises OSError when that was in vain."""
        if not self._local_port.is_awaited:
            return
        is_up = await self._local_port.settle()
        if self._connection.is_closed:
            raise ConnectionAbortedError
        if not is_up:
            await self.withdraw()
            raise ConnectionRefusedError

    async def _connect(self) -> "LocalEnd":
        _, local = await self._local_port.connect(lambda: LocalEnd(self._doubt))
        return local

    async def _doubt(self) -> None:
        """Take the socket away if the local port closes connections at once; the gateway tries again elsewhere then."""
        if not await self._local_port.doubt() and not self._local_port.is_awaited:
            await self.withdraw()


class LocalEnd(End):
    """The end at the local port. An end before the first byte of answer is passed on when `doubt` is done."""

    __slots__ = ("_doubt", "_doubting", "_has_answered")

    def __init__(self, doubt: Callable[[], Coroutine[Any, Any, object]]) -> None:
        super().__init__()
        self._doubt = doubt
        self._doubting: asyncio.Task[object] | None = None
        self._has_answered = False

    def data_received(self, data: bytes) -> None:
        self._has_answered = True
        self._write(data)

    def eof_received(self) -> bool:
        self._pass_on(super().eof_received)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the loss on as an end, behind what was received.

        A server that answers early and closes resets the connection; what it said before is in the socket yet.
        """
        sock = self.transport.get_extra_info("socket") if exc is not None and self.transport is not None else None
        if sock is not None:  # none where the local port is in a pod
            with suppress(OSError):  # the socket is empty
                while data := os.read(sock.fileno(), 1 << 18):
                    self.data_received(data)
        self.note_loss()  # what comes from the pod while that is passed on finds nobody
        self._pass_on(partial(super().connection_lost, None))

    def _pass_on(self, ending: Callable[[], object]) -> None:
        is_wanted = self.other is not None and (self.other.eof or self.other.lost)
        if self._doubting is None and (self._has_answered or is_wanted):
            ending()
            return
        self._doubting = self._doubting or asyncio.get_running_loop().create_task(self._doubt(), name="doubt")
        self._doubting.add_done_callback(lambda _: ending())


class PodEnd(End):
    """The end at the channel. It comes last, so it joins the two."""

    __slots__ = ("_local", "_taps")

    def __init__(self, local: End, taps: Taps | None = None) -> None:
        super().__init__()
        self._local, self._taps = local, taps

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        early = self._local.early
        self.join(self._local)
        if self._taps is not None:
            self._taps.open(self, self._local, early)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._taps is not None:
            self._taps.close(self)
        super().connection_lost(exc)


def drop_unless_joined(local: End) -> None:
    """Drop a dialled connection for which asyncssh made no channel, because the SSH connection has gone meanwhile."""
    if local.other is None and local.transport is not None:
        local.transport.abort()
