"""Ports in a pod that lead back to ports of this laptop."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ktpy.aio.task_group import task_group
from ktpy.errors import LinkLost, RouteTaken
from ktpy.link.channel import Channel
from ktpy.link.connection import AgentConnection
from ktpy.link.forwards import SSH_OPEN_CONNECT_FAILED, PodEnd, drop_unless_joined
from ktpy.link.session import link_lost
from ktpy.link.splice import End
from ktpy.link.ssh_library import asyncssh

_LOOPBACK: Final = "127.0.0.1"
"""sshd permits nothing else. By `localhost` it would be content with ::1 where another has this one."""
_RETRY_S: Final = 0.5


class ReversePorts:
    """A ReversePorts holds ports of a pod, each of which leads to one of this laptop, over one link after the other."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        """`ports` are the laptop's by the pod's."""
        self._ports = ports
        self.stand = asyncio.Event()
        """Set once all of them have been listened on."""
        if not ports:
            self.stand.set()

    async def hold(self, connection: AgentConnection[Any]) -> LinkLost | None:
        """Listen until the connection ends; return why it did, None after `close`.

        Raises RouteTaken where somebody else listens on one at first. A later link waits for the former to let go.
        """
        async with task_group() as tasks:
            opening = tasks.create_task(self._open(connection), name="listen in the pod")
            reason = await connection.wait_closed()
            opening.cancel()
        return reason

    async def _open(self, connection: AgentConnection[Any]) -> None:
        for port, local in self._ports.items():
            while True:
                try:
                    accept = partial(_accept, connection, local)
                    await connection.ssh.create_server(
                        accept, _LOOPBACK, port, encoding=None, window=connection.window_bytes
                    )
                    break
                except asyncssh.ChannelListenError as exc:
                    if not self.stand.is_set():
                        raise RouteTaken(
                            f"Port {port} of the dev container cannot be listened on: a program there has it, or its "
                            "user may not; ktpy undid what it had begun.",
                            hint="Choose another: --reverse PORT:LOCAL",
                        ) from exc
                    await asyncio.sleep(_RETRY_S)
                except (asyncssh.Error, OSError) as exc:
                    connection.lose(link_lost(exc))
                    return
        self.stand.set()


async def _accept(
    connection: AgentConnection[Any], local_port: int, _host: str, _port: int
) -> asyncssh.SSHTCPSession[bytes]:
    """Dial the laptop's port; asyncssh refuses the channel when this raises.

    Its own forwards lose what a server says first, on uvloop.
    """
    loop = asyncio.get_running_loop()
    try:
        _, local = await loop.create_connection(End, "localhost", local_port)
    except OSError as exc:
        raise asyncssh.ChannelOpenError(SSH_OPEN_CONNECT_FAILED, "the local port does not answer") from exc
    loop.call_soon(drop_unless_joined, local)
    return Channel(connection.link, lambda: PodEnd(local), (_LOOPBACK, 0))
