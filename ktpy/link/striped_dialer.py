"""Connections from inside the pod that begin over one SSH connection to its agent; bulk goes over others too."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ktpy.link.channel import Channel
from ktpy.link.connection import AgentConnection
from ktpy.link.dialer import Dialer
from ktpy.link.spares import Spares, open_channel
from ktpy.link.ssh_library import asyncssh
from ktpy.link.striped_flow import StripedFlow, Unanswered

P = TypeVar("P", bound=asyncio.Protocol)

AHEAD: Final = 4
"""So many channels to the agent's relay wait for new connections, which take no longer so than sshd's own do."""


class StripedDialer(Dialer):
    """A StripedDialer has sshd connect, as a Dialer does, where no channel waits, as none does before `prepare`."""

    def __init__(
        self, connection: AgentConnection[Any], on_bulk: Callable[["StripedDialer", StripedFlow], bool]
    ) -> None:
        """`on_bulk` is told of a flow that carries bulk, may have other dialers `lend` to it, and returns whether."""
        super().__init__(connection)
        self._on_bulk = on_bulk
        self._ahead = self._coming = 0
        """So many channels are to wait, and so many are about to."""
        self._spares = Spares()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        """How many channels carry something, or are about to."""
        return super().busy - len(self._spares)

    def prepare(self) -> None:
        """Have channels wait for connections from now on, where the agent understands them."""
        if self.connection.hello.stripes:
            self._ahead = AHEAD
            self._open_ahead()

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod as a Dialer does, over a channel that waits if there is one."""
        while channel := self._take():
            flow = StripedFlow(protocol_factory, (host, port), self._has_bulk, self._spares.put)
            flow.begin(channel)
            try:
                await flow.answered
            except Unanswered:
                continue  # the relay has ended, or the link
            except asyncio.CancelledError:
                flow.abort()
                raise
            return flow, flow.get_protocol()  # type: ignore[return-value]  # what protocol_factory made
        return await super().create_connection(protocol_factory, host, port)

    def lend(self, flow: StripedFlow) -> None:
        """Let a flow go over this connection as well, soon."""
        self._start(self._lend(flow), "widen a connection")

    def _has_bulk(self, flow: StripedFlow) -> bool:
        return self._on_bulk(self, flow)

    def _take(self) -> Channel | None:
        channel = self._spares.take()
        self._open_ahead()
        return channel

    def _open_ahead(self) -> None:
        for _ in range(self._ahead - len(self._spares) - self._coming):
            self._coming += 1
            self._start(self._open_one(), "open a channel ahead")

    async def _open_one(self) -> None:
        channel = await self._opened()
        self._coming -= 1
        if channel is not None:
            self._spares.put(channel)

    async def _lend(self, flow: StripedFlow) -> None:
        channel = self._take() or await self._opened()
        if channel is not None and not flow.join(channel):
            self._spares.put(channel)

    async def _opened(self) -> Channel | None:
        channel = Channel(self.connection.link, asyncio.Protocol, ("", 0))
        try:
            await open_channel(self.connection, channel)
        except (asyncssh.Error, OSError):
            self._ahead = 0  # the link is lost, or the pod has no room for more
            return None
        return None if channel.is_closing() else channel

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
