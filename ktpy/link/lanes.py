"""Further SSH connections to a pod, over which flows spread, and where bulk goes.

To a pod that is far away there are several, so that a lost packet stops the flows of one only. There, bulk of a flow
goes over several of them; to one that is near, SSH is what costs most, and bulk goes past it. And there is one past the
API server if there is a way.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from ktpy.aio.retry import Backoff
from ktpy.aio.task_group import task_group
from ktpy.errors import HostKeyMismatch, KtpyError
from ktpy.link.bulk import BulkWay
from ktpy.link.channel import Carried
from ktpy.link.connection import AgentConnection, Connector
from ktpy.link.dialer import Dialer
from ktpy.link.direct import DirectWay
from ktpy.link.keeper import Keeper, KeptDialer
from ktpy.link.striped_dialer import StripedDialer
from ktpy.link.striped_flow import StripedFlow

P = TypeVar("P", bound=asyncio.Protocol)

MOST: Final = 4
FAR_S: Final = 0.01
"""Nearer than this, TCP has mended a loss before anybody notices, and each connection costs the pod some 8 MB."""
STRIPES: Final = MOST - 1
"""A flow that carries bulk goes over so many while no other does, and leaves one to small ones, which would wait behind
it: what is under way in one is bounded by sshd's window and by buffers of the API server's kernel. Several flows are
busy on all connections by themselves, and none of them waits for the slowest of these."""
AGAIN_AFTER_S: Final = 5.0
"""The longest pause before another attempt."""
OPTIONAL_AGAIN_AFTER_S: Final = 60.0
"""... of a way that is optional, which most networks do not have."""
FALL_BACK_S: Final = 30.0
"""The agent holds so long what goes on through the API server. The laptop may notice the loss later than it does."""
MOST_FALLEN: Final = 8
"""The agent's relay has room for 16 keepers. While so many go on for connections that have outlived a loss, the
next one ends what goes over the way that is lost."""
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
        beside: Callable[[int], Connector] | None = None,
    ) -> None:
        """`dial` is told the connector where it is another than that of `first`. `beside` returns one to another port
        of the pod, if there may be such."""
        self._first = first
        self._dial = dial
        self._direct = direct
        self._bulk = BulkWay(beside(first.hello.bulk_port), first.link) if beside and first.hello.bulk_port else None
        self._dialers: list[Dialer] = [StripedDialer(first, self._widen_flow)]
        self._direct_dialers: list[Dialer] = []
        """Those over the direct way; while there are any, flows go over no others."""
        self._wide: StripedFlow | None = None
        """The last flow that may go over several connections."""
        self._is_far = False
        self._ended = Carried()
        self._fallen = 0
        """How many keepers go on over the first connection."""

    def carried(self) -> Carried:
        """Return what went over all connections, those that have ended too."""
        found = replace(self._ended)
        for dialer in self._dialers + self._direct_dialers:
            found.add(dialer.connection.link)
        return found

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
        self._is_far = round_trip_s(self._first) >= FAR_S
        number = MOST if self._is_far else 1
        async with task_group() as tasks:
            for direct in [None] * (number - 1) + [self._direct] * (number if self._direct else 0):
                tasks.create_task(self._keep_another(direct, tasks), name="further connection to the pod")

    async def _keep_another(self, direct: DirectWay | None, tasks: asyncio.TaskGroup) -> None:
        pause = Backoff(FIRST_AGAIN_AFTER_S, OPTIONAL_AGAIN_AFTER_S if direct and direct.is_optional else AGAIN_AFTER_S)
        while True:
            try:
                connection = await self._dial(direct)
                pause.reset()
                why = await self._hold(connection, direct, tasks)
            except KtpyError as error:  # the first connection does without
                why = error
            if direct and why:
                direct.failed(why)
            await pause.pause()

    async def _hold(
        self, connection: AgentConnection[Any], direct: DirectWay | None, tasks: asyncio.TaskGroup
    ) -> KtpyError | None:
        """Let flows go over a connection until it ends; return why it did."""
        try:
            if connection.host_key != self._first.host_key:  # the container may have been started again
                return HostKeyMismatch("What answers there has another SSH host key than the pod.")
            if direct and direct.is_optional and self._fallen < MOST_FALLEN:
                return await self._hold_kept(connection, direct, tasks)
            is_striped = self._is_far or not direct  # near, bulk is as fast over the direct way as it gets
            dialer = StripedDialer(connection, self._widen_flow) if is_striped else Dialer(connection)
            with self._joined(dialer, direct):
                return await connection.wait_closed()
        finally:
            connection.close()

    async def _hold_kept(
        self, connection: AgentConnection[Any], direct: DirectWay, tasks: asyncio.TaskGroup
    ) -> KtpyError | None:
        """Hold a connection as `_hold` does; what is open at its end goes on over the first one."""
        keeper = Keeper(FALL_BACK_S)
        try:
            with self._joined(KeptDialer(connection, keeper), direct):
                why = await keeper.hold(connection)
        except BaseException:
            keeper.close("The connection to the pod ends.")
            raise
        tasks.create_task(self._fall_back(keeper), name="go on through the API server")
        return why

    async def _fall_back(self, keeper: Keeper) -> None:
        self._fallen += 1
        try:
            await keeper.hold(self._first, lambda _: keeper.wait_idle())
        finally:
            self._fallen -= 1
            keeper.close("The connection to the pod has ended.")

    @contextmanager
    def _joined(self, dialer: Dialer, direct: DirectWay | None) -> Iterator[None]:
        dialers = self._direct_dialers if direct else self._dialers
        dialers.append(dialer)
        for striped in dialers if len(dialers) > 1 else ():
            if isinstance(striped, StripedDialer):
                striped.expect_bulk()
        if direct:
            direct.up()
        try:
            yield
        finally:
            self._leave(dialer)
            if direct:
                direct.down()

    def _widen_flow(self, own: StripedDialer, flow: StripedFlow) -> bool:
        """Let a flow that carries bulk go past SSH, if it may; far away, over the least busy of the connections."""
        is_direct = own in self._direct_dialers
        beside = self._direct_dialers if is_direct else self._dialers
        others = [dialer for dialer in beside if dialer is not own and isinstance(dialer, StripedDialer)]
        if not others:
            return self._bulk is not None and not is_direct and self._bulk.widen(flow)
        if self._wide is not None and self._wide is not flow and self._wide.is_busy:
            return False
        self._wide = flow
        for dialer in sorted(others, key=lambda dialer: dialer.busy)[:STRIPES]:
            dialer.lend(flow)
        return True

    def _leave(self, dialer: Dialer) -> None:
        for dialers in (self._dialers, self._direct_dialers):
            if dialer in dialers:
                dialers.remove(dialer)
                self._ended.add(dialer.connection.link)


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
