"""Connections from inside the pod that outlive the link: all those of a session."""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeVar

from ktpy.errors import LinkLost
from ktpy.link.channel import Channel
from ktpy.link.connection import AgentConnection
from ktpy.link.dialer import Dialer
from ktpy.link.kept_flow import KeptFlow
from ktpy.link.spares import Spares, open_channel
from ktpy.link.ssh_library import asyncssh
from ktpy.wire.datagram import mapped
from ktpy.wire.flows import (
    ANSWER,
    CONTROL,
    DIAL,
    END,
    GONE,
    NEW,
    RECEIVED,
    RESUME,
    RESUMED,
    TOKEN_BYTES,
    Note,
    NoteParser,
    Opening,
)
from ktpy.wire.ledger import ACKNOWLEDGE_S, Budget
from ktpy.wire.session import AgentHello

P = TypeVar("P", bound=asyncio.Protocol)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class KeptCounters:
    """KeptCounters count connections that were open when the link was lost."""

    kept: int = 0
    """They went on, once for each outage that they lived through."""
    lost: int = 0
    """They were reset."""
    outran: int = 0
    """How often a connection had more under way than is held. It is lost with the link, unless it catches up before."""


@dataclass(slots=True)
class _Carrier:
    """A _Carrier is what new connections are dialled over, until it has ended: one link."""

    connection: AgentConnection[AgentHello]
    control: Channel | None
    """None where the agent keeps no connections, and sshd makes them."""
    dialer: Dialer
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Keeper:
    """A Keeper dials from inside the pod. `hold`, or `link_up` and `link_down`, tell it of the link."""

    def __init__(self, keep_s: float, on_trouble: Callable[[str], None] = lambda _: None) -> None:
        """Connections wait `keep_s` seconds for another link. `on_trouble` hears, once, why none are kept."""
        self.counters = KeptCounters()
        self.token = secrets.token_bytes(TOKEN_BYTES)
        self._keep_s, self._on_trouble = keep_s, on_trouble
        self._is_told = False
        self._budget = Budget()
        self._numbers = itertools.count(1)
        self._flows: dict[int, KeptFlow] = {}
        self._awaited: set[int] = set()
        """Flows of an earlier link of which the agent has not said what has become of them."""
        self._carrier: asyncio.Future[_Carrier] = asyncio.get_running_loop().create_future()
        self._spares = Spares()
        self._tasks: set[asyncio.Task[None]] = set()
        self._outbox = bytearray()
        self._unacknowledged: set[KeptFlow] = set()
        self._acknowledging: asyncio.TimerHandle | None = None
        self._is_idle = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod, as `Uplink.create_connection` does.

        What is returned goes on over the next link when one is lost.
        """
        while True:
            carrier = await asyncio.shield(self._carrier)
            try:
                if carrier.control is None:
                    return await carrier.dialer.create_connection(protocol_factory, host, port)
                return await self._dial(protocol_factory, host, port)
            except ConnectionAbortedError:  # the link was lost: nothing has come of it on the far side that counts
                await carrier.ended.wait()

    async def _dial(self, protocol_factory: Callable[[], P], host: str, port: int) -> tuple[asyncio.Transport, P]:
        flow = KeptFlow(self, next(self._numbers), self._budget, protocol_factory, (host, port))
        self._flows[flow.number] = flow
        address = mapped(ip_address(host).packed)
        if channel := self._spares.take():
            channel.set_protocol(flow)
            flow.attach(channel, Opening(NEW, self.token, flow.number, port, address))
        else:
            self.tell(Note(DIAL, flow.number, port, address))
            self.open_channel(flow)
        try:
            await flow.answered
        except asyncio.CancelledError:
            flow.abort()
            raise
        return flow, flow.get_protocol()  # type: ignore[return-value]  # what protocol_factory made

    # --- the link comes and goes

    async def hold(
        self,
        connection: AgentConnection[AgentHello],
        until_closed: Callable[[AgentConnection[AgentHello]], Awaitable[LinkLost | None]] = AgentConnection.wait_closed,
    ) -> LinkLost | None:
        """Go on over this connection until it ends: the `hold` of an `Uplink`. Return what `until_closed` does."""
        self.link_up(connection)
        try:
            return await until_closed(connection)
        finally:
            self.link_down()

    def link_up(self, connection: AgentConnection[AgentHello]) -> None:
        """Go on over this connection."""
        if self._expiry:
            self._expiry.cancel()
        self._expiry = None
        self._start(self._open_control(connection), "open control channel")

    def link_down(self) -> None:
        """Let what is open wait for another link; `link_up` may never have got through."""
        if self._carrier.done():
            self._carrier.result().ended.set()
            self._carrier = asyncio.get_running_loop().create_future()
        for task in self._tasks:
            task.cancel()
        self._outbox.clear()
        for flow in [flow for flow in self._flows.values() if not flow.answered.done()]:
            flow.finish(None)
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_later(self._keep_s, self._expire)

    async def wait_idle(self) -> None:
        """Wait until no connection is open any more."""
        if self._flows:
            self._is_idle.clear()
            await self._is_idle.wait()

    def close(self, why: str) -> None:
        """Reset what is open. Whoever dials gets a ConnectionAbortedError from now on."""
        control = self._carrier.result().control if self._carrier.done() else None
        self.reset(why)
        self._flush()
        self.link_down()
        self._spares.close()
        if control is not None:
            control.abort()
        if self._expiry:
            self._expiry.cancel()
        self._carrier.set_exception(ConnectionAbortedError(why))
        self._carrier.exception()  # often nobody waits

    def _expire(self) -> None:
        self.reset(f"There was no link for {self._keep_s:g} s.")

    def reset(self, why: str) -> None:
        """Reset every connection that waits for a link."""
        flows = [flow for flow in self._flows.values() if flow.answered.done()]
        self.counters.lost += len(flows)
        for flow in flows:
            flow.fail(why)

    async def _open_control(self, connection: AgentConnection[AgentHello]) -> None:
        try:
            await open_channel(connection, Channel(connection.link, lambda: _Control(self, connection), ("", 0)))
        except (asyncssh.Error, OSError) as exc:
            if connection.is_closed:
                return
            if not self._is_told:
                self._is_told = True
                self._on_trouble(str(exc))
            self.reset("The pod has no relay of connections.")
            self._carrier.set_result(_Carrier(connection, None, Dialer(connection)))

    def begin(self, connection: AgentConnection[AgentHello], control: Channel) -> None:
        """Tell the agent what is to go on, before anything else."""
        self._awaited = set(self._flows)
        notes = [note for flow in self._flows.values() for note in flow.restated()]
        opening = Opening(CONTROL, self.token, round(self._keep_s)).encoded()
        control.write(opening + b"".join(note.encoded() for note in [*notes, Note(RESUMED, 0)]))
        self._carrier.set_result(_Carrier(connection, control, Dialer(connection)))

    # --- what is said over the link

    def tell(self, note: Note) -> None:
        """Tell the agent, together with what else there is in this turn. Without a link it is lost."""
        if self._carrier.done():
            if not self._outbox:
                asyncio.get_running_loop().call_soon(self._flush)
            self._outbox += note.encoded()

    def _flush(self) -> None:
        if self._outbox and self._carrier.done() and (control := self._carrier.result().control):
            control.write(self._outbox)
        self._outbox.clear()

    def take(self, note: Note) -> None:
        """Do what the agent says. Raises ValueError where it cannot be true."""
        flow = self._flows.get(note.flow)
        was_awaited = note.flow in self._awaited
        self._awaited.discard(note.flow)
        if flow is None:
            if note.kind in (ANSWER, END):  # it was given up before the agent knew of it
                self.tell(Note(GONE, note.flow))
            return
        if note.kind == RESUME:
            if flow.resume(note.value):
                self.counters.kept += 1
            else:
                self.counters.lost += 1
                flow.fail("more was under way than is held")
            return
        self.counters.lost += was_awaited and note.kind == GONE and not flow.is_closing()
        flow.take(note)

    def has_received(self, flow: KeptFlow) -> None:
        self._unacknowledged.add(flow)
        if self._acknowledging is None:
            self._acknowledging = asyncio.get_running_loop().call_later(ACKNOWLEDGE_S, self._acknowledge)

    def _acknowledge(self) -> None:
        self._acknowledging = None
        due = [flow for flow in self._unacknowledged if flow.incoming.is_due()]
        for flow in due:
            self.tell(Note(RECEIVED, flow.number, flow.incoming.received))
        self._unacknowledged.difference_update(due)
        if self._unacknowledged:
            self._acknowledging = asyncio.get_running_loop().call_later(ACKNOWLEDGE_S, self._acknowledge)

    def spare(self, channel: Channel) -> None:
        self._spares.put(channel)

    def outran(self) -> None:
        self.counters.outran += 1

    def forget(self, flow: KeptFlow) -> None:
        self._flows.pop(flow.number, None)
        self._unacknowledged.discard(flow)
        if not self._flows:
            self._is_idle.set()

    def open_channel(self, flow: KeptFlow) -> None:
        self._start(self._open(flow), f"open flow {flow.number}")

    async def _open(self, flow: KeptFlow) -> None:
        connection = self._carrier.result().connection
        try:
            await open_channel(connection, Channel(connection.link, lambda: flow, flow.get_extra_info("peername")))
        except (asyncssh.Error, OSError) as exc:
            if not connection.is_closed:
                flow.fail(f"its channel could not be opened: {exc}")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class KeptDialer(Dialer):
    """A KeptDialer dials over one connection while a Keeper holds it; what it has dialled outlives that."""

    def __init__(self, connection: AgentConnection[AgentHello], keeper: Keeper) -> None:
        super().__init__(connection)
        self._keeper = keeper

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect as a Keeper does. Raises ConnectionAbortedError once that is closed."""
        return await self._keeper.create_connection(protocol_factory, host, port)


class _Control(asyncio.Protocol):
    """A _Control reads the control channel of one link, which is lost with it."""

    def __init__(self, keeper: Keeper, connection: AgentConnection[AgentHello]) -> None:
        self._keeper, self._connection = keeper, connection
        self._parser = NoteParser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Channel)  # noqa: S101
        self._keeper.begin(self._connection, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for note in self._parser.feed(data):
                self._keeper.take(note)
        except ValueError as exc:
            self._connection.lose(LinkLost(f"The agent in the pod does not keep to the protocol: {exc}."))

    def eof_received(self) -> bool:
        self._connection.lose(LinkLost("The agent's relay of connections ended."))
        return False
