"""Further SSH connections to a pod that is far away, over which flows spread: a lost packet stops those of one only."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from ktpy.aio.task_group import task_group
from ktpy.errors import KtpyError
from ktpy.link.connection import AgentConnection
from ktpy.link.dialer import Dialer

P = TypeVar("P", bound=asyncio.Protocol)

MOST: Final = 4
FAR_S: Final = 0.01
"""Nearer than this, TCP has mended a loss before anybody notices, and each connection costs the pod some 8 MB."""
AGAIN_AFTER_S: Final = 5.0

_RTT_OFFSET: Final = 68
"""This is where tcpi_rtt is in Linux's struct tcp_info, in microseconds (include/uapi/linux/tcp.h)."""


class Lanes:
    """The Lanes are a connection to an agent, and while `widen` runs, others to the same agent beside it."""

    def __init__(self, first: AgentConnection[Any], dial: Callable[[], Awaitable[AgentConnection[Any]]]) -> None:
        self._first = first
        self._dial = dial
        self._dialers = [Dialer(first)]
        self._ended = [0, 0]

    def byte_counts(self) -> tuple[int, int]:
        """Return how many payload bytes were sent and received over channels."""
        links = [dialer.connection.link for dialer in self._dialers]
        sent, received = self._ended
        return sent + sum(link.sent_bytes for link in links), received + sum(link.received_bytes for link in links)

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod, see `Dialer`, over the connection that has the fewest channels."""
        while True:
            dialer = min(self._dialers, key=lambda dialer: dialer.busy)
            try:
                return await dialer.create_connection(protocol_factory, host, port)
            except ConnectionAbortedError:
                if dialer.connection is self._first:
                    raise
                self._leave(dialer)

    async def widen(self) -> None:
        """Keep further connections while the pod is far away, until cancelled; then they are closed."""
        if round_trip_s(self._first) < FAR_S:
            return
        async with task_group() as tasks:
            for _ in range(MOST - 1):
                tasks.create_task(self._keep_another(), name="further connection to the pod")

    async def _keep_another(self) -> None:
        while True:
            with suppress(KtpyError):  # the first connection does without
                await self._hold(await self._dial())
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _hold(self, connection: AgentConnection[Any]) -> None:
        dialer = Dialer(connection)
        try:
            if connection.host_key == self._first.host_key:  # the container may have been started again
                self._dialers.append(dialer)
                await connection.wait_closed()
        finally:
            connection.close()
            self._leave(dialer)

    def _leave(self, dialer: Dialer) -> None:
        if dialer in self._dialers:
            self._dialers.remove(dialer)
            link = dialer.connection.link
            self._ended[0] += link.sent_bytes
            self._ended[1] += link.received_bytes


def round_trip_s(connection: AgentConnection[Any]) -> float:
    """Return the round trip to the API server, or its proxy, by the kernel (tcp(7)); 0 where it tells none."""
    try:
        info = connection.ssh.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    except (AttributeError, OSError):
        return 0.0
    microseconds: int = struct.unpack_from("=I", info, _RTT_OFFSET)[0]
    return microseconds / 1e6
