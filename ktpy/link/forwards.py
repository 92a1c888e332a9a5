"""Forwards: unix sockets in a pod that lead to ports of this laptop.

A socket is there only while its local port answers: the gateway sends requests to the original pods as soon as the
socket is gone.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import asyncssh

from ktpy.errors import LinkLost
from ktpy.link.accept import LocalPort, accept
from ktpy.link.connection import AgentConnection

logger = logging.getLogger(__name__)


async def serve_forwards(
    connection: AgentConnection[Any], sockets: Mapping[int, str], local_ports: Mapping[int, LocalPort]
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


async def _keep_forward(connection: AgentConnection[Any], port: int, path: str, local_port: LocalPort) -> None:
    while not connection.is_closed:
        await local_port.wait_up()
        forward = _Forward(connection, local_port)
        try:
            await forward.open(path)
        except asyncssh.ChannelListenError:
            connection.lose(LinkLost(f"The agent's sshd does not make the socket {path}."))
            return
        except (asyncssh.Error, OSError) as exc:
            connection.lose(LinkLost(f"The link to the pod was lost: {exc}."))
            return
        logger.info("port %d: the gateway may send requests", port)
        await local_port.wait_down()
        logger.info("port %d: the local port does not answer", port)
        await forward.withdraw()


class _Forward:
    """A socket in the pod that leads to a local port, until it is withdrawn."""

    def __init__(self, connection: AgentConnection[Any], local_port: LocalPort) -> None:
        self._connection = connection
        self._local_port = local_port
        self._listener: asyncssh.SSHListener | None = None
        self._is_withdrawn = False

    async def open(self, path: str) -> None:
        self._listener = await self._connection.ssh.create_unix_server(
            self._accept, path, encoding=None, window=self._connection.window_bytes
        )

    async def withdraw(self) -> None:
        """Take the socket away; returns when sshd has."""
        if self._listener is None:
            return
        if not self._is_withdrawn:
            self._is_withdrawn = True
            self._listener.close()
        await self._listener.wait_closed()

    async def _accept(self) -> asyncssh.SSHUNIXSession[bytes]:
        """The gateway tries again at once what we refuse, so the socket has to be gone before it hears of it.

        The other way round it tried the same again, over and over, and gave up with an error for the client.
        """
        try:
            return await accept(self._connection.link, self._local_port)
        except asyncssh.ChannelOpenError:
            await self.withdraw()
            raise
