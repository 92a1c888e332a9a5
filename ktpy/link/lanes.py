"""Further SSH connections to a pod, over which flows spread.

To one that is far away, so that a lost packet stops the flows of one only; and past the API server if there is a way.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from ktpy.aio.retry import Backoff
from ktpy.aio.task_group import task_group
from ktpy.errors import HostKeyMismatch, KtpyError
from ktpy.link.connection import AgentConnection, Connector
from ktpy.link.dialer import Dialer
from ktpy.link.direct import DirectWay

P = TypeVar("P", bound=asyncio.Protocol)

MOST: Final = 4
FAR_S: Final = 0.01
"""Nearer than this, TCP has mended a loss before anybody notices, and each connection costs the pod some 8 MB."""
AGAIN_AFTER_S: Final = 5.0
"""The longest pause before another attempt."""
FIRST_AGAIN_AFTER_S: Final = 0.5
"""The first one: a node knows a port of the cluster up to a second after it is made."""

_RTT_OFFSET: Final = 68
"""This is where tcpi_rtt is in Linux's struct tcp_info, in microseconds (include/uapi/linux/tcp.h)."""


class Lanes:
    """The Lanes are a connection to an agent, and while `widen` runs, others to the same agent beside it."""

    def __init__(
        self,
        first: AgentConnection[Any],
        dial: Callable[[Connector | None], Awaitable[AgentConnection[Any]]],
        direct: DirectWay | None = None,
    ) -> None:
        """`dial` is told the connector where it is another than that of `first`."""
        self._first = first
        self._dial = dial
        self._direct = direct
        self._dialers = [Dialer(first)]
        self._direct_dialers: list[Dialer] = []
        """Those over the direct way; while there are any, flows go over no others."""
        self._ended = [0, 0]

    def byte_counts(self) -> tuple[int, int]:
        """Return how many payload bytes were sent and received over channels."""
        links = [dialer.connection.link for dialer in self._dialers + self._direct_dialers]
        sent, received = self._ended
        return sent + sum(link.sent_bytes for link in links), received + sum(link.received_bytes for link in links)

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod, see `Dialer`, over the connection that has the fewest channels."""
        while True:
            dialer = min(self._direct_dialers or self._dialers, key=lambda dialer: dialer.busy)
            try:
                return await dialer.create_connection(protocol_factory, host, port)
            except ConnectionAbortedError:
                if dialer.connection is self._first:
                    raise
                self._leave(dialer)

    async def widen(self) -> None:
        """Keep further connections where they serve, until cancelled; then they are closed."""
        number = MOST if round_trip_s(self._first) >= FAR_S else 1
        async with task_group() as tasks:
            for _ in range(number if self._direct else number - 1):
                tasks.create_task(self._keep_another(), name="further connection to the pod")

    async def _keep_another(self) -> None:
        pause = Backoff(FIRST_AGAIN_AFTER_S, AGAIN_AFTER_S)
        while True:
            try:
                why = await self._hold(await self._dial(self._direct))
            except KtpyError as error:  # the first connection does without
                why = error
            if self._direct and why:
                self._direct.failed(why)
            await pause.pause()

    async def _hold(self, connection: AgentConnection[Any]) -> KtpyError | None:
        """Let flows go over a connection until it ends; return why it did."""
        try:
            if connection.host_key != self._first.host_key:  # the container may have been started again
                return HostKeyMismatch("What answers there has another SSH host key than the pod.")
            with self._joined(Dialer(connection)):
                return await connection.wait_closed()
        finally:
            connection.close()

    @contextmanager
    def _joined(self, dialer: Dialer) -> Iterator[None]:
        dialers = self._direct_dialers if self._direct else self._dialers
        dialers.append(dialer)
        if self._direct:
            self._direct.up()
        try:
            yield
        finally:
            self._leave(dialer)
            if self._direct:
                self._direct.down()

    def _leave(self, dialer: Dialer) -> None:
        for dialers in (self._dialers, self._direct_dialers):
            if dialer in dialers:
                dialers.remove(dialer)
                link = dialer.connection.link
                self._ended[0] += link.sent_bytes
                self._ended[1] += link.received_bytes


def round_trip_s(connection: AgentConnection[Any]) -> float:
    """Return the round trip to the API server, or its proxy, by the kernel (tcp(7)); 0 where it tells none."""
    if sys.platform != "linux":
        return 0.0
    try:
        info = connection.ssh.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    except (AttributeError, OSError):
        return 0.0
    microseconds: int = struct.unpack_from("=I", info, _RTT_OFFSET)[0]
    return microseconds / 1e6
