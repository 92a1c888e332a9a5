"""Connections from inside the pod over an SSH connection to its agent, which bulk leaves for ways of its own."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from ktpy.link.channel import Channel
from ktpy.link.connection import AgentConnection
from ktpy.link.dialer import Dialer
from ktpy.link.spares import Spares, open_channel
from ktpy.link.ssh_library import asyncssh
from ktpy.link.striped_flow import Joining, StripedFlow, Unanswered

P = TypeVar("P", bound=asyncio.Protocol)

AHEAD: Final = 4
"""So many channels to the agent's relay wait for new connections, which take no longer so than sshd's own do."""
MOST_BULKY: Final = 64
EXPECTED: Final = 16
"""After one that has carried bulk, it is expected of so many connections to the same place."""


class StripedDialer(Dialer):
    """A StripedDialer has sshd connect, as a Dialer does, where it expects no bulk, or no channel waits.

    Through sshd a small request takes a fourth less time than through the agent's relay, which bulk needs.
    """

    def __init__(
        self, connection: AgentConnection[Any], on_bulk: Callable[["StripedDialer", StripedFlow], bool]
    ) -> None:
        """`on_bulk` is told of a flow that carries bulk, and returns whether it is to have further channels."""
        super().__init__(connection)
        self._on_bulk = on_bulk
        self._expects_bulk = False
        self._bulky: dict[tuple[str, int], int] = {}
        """Places to and from which bulk was carried, and for how many more connections it is expected there."""
        self._ahead = self._coming = 0
        """So many channels are to wait, and so many are about to."""
        self._spares = Spares()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        """How many channels carry something, or are about to."""
        return super().busy - len(self._spares)

    def expect_bulk(self) -> None:
        """Expect bulk of every connection, as the way is so far that the relay adds little."""
        self._expects_bulk = True
        self._prepare()

    def _channel(self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Channel:
        return Channel(self.connection.link, protocol_factory, (host, port), self._note_bulk)

    def _note_bulk(self, host: str, port: int) -> None:
        self._bulky.pop((host, port), None)
        if len(self._bulky) >= MOST_BULKY:
            del self._bulky[next(iter(self._bulky))]
        self._bulky[host, port] = EXPECTED
        self._prepare()

    def _is_bulky(self, host: str, port: int) -> bool:
        if self._expects_bulk:
            return True
        if left := self._bulky.pop((host, port), 0):
            self._bulky[host, port] = left - 1
        return left > 0

    def _prepare(self) -> None:
        """Have channels wait for connections from now on, where the agent has a port for bulk."""
        if self.connection.hello.bulk_port:
            self._ahead = AHEAD
            self._open_ahead()

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod as a Dialer does, over a channel that waits where bulk is expected."""
        while self._is_bulky(host, port) and (channel := self._take() or await self._opened_now()):
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

    def _has_bulk(self, flow: StripedFlow) -> bool:
        self._note_bulk(*flow.get_extra_info("peername"))
        return self._on_bulk(self, flow)

    def lend(self, flow: StripedFlow) -> None:
        """Let a flow go over this connection as well, soon."""
        self._start(self._lend(flow), "widen a connection")

    async def _lend(self, flow: StripedFlow) -> None:
        if channel := self._take() or await self._opened():
            with suppress(OSError):  # the relay has ended, or the link, and the flow with it
                await Joining(flow, channel).done

    async def _opened_now(self) -> Channel | None:
        """Open a channel where that takes little time."""
        return None if self._expects_bulk or not self._ahead else await self._opened()

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
