"""The uplink: the way to an agent, which outlives any one connection to it and any one pod."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import field, replace
from functools import partial
from typing import Final, Generic, TypeVar

from ktpy.aio.task_group import task_group
from ktpy.errors import HostKeyMismatch, KtpyError, LinkLost
from ktpy.frozen import dataclass
from ktpy.link.channel import Carried
from ktpy.link.connection import AgentConnection, AgentServer, Connector
from ktpy.link.dial_policy import DialPolicy
from ktpy.link.direct import DirectWay
from ktpy.link.key import ClientKey
from ktpy.link.lanes import Lanes
from ktpy.link.session import AgentCommand, link_lost
from ktpy.link.ssh_library import asyncssh
from ktpy.observe.trace import traced

P = TypeVar("P", bound=asyncio.Protocol)
T = TypeVar("T")

_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class AgentPod:
    """An AgentPod is the pod that an uplink leads to at this moment."""

    name: str
    connector: Connector
    printed_host_key: Callable[[], Awaitable[str | None]]
    """Reads the host key that the pod printed; None where nobody can tell."""
    mismatch: str
    """What HostKeyMismatch says."""
    server: AgentServer = field(default_factory=AgentServer)
    restart_grace_s: float = 0.0
    """The link to a container that has ended may seem to stand this long (keepalive)."""
    direct: DirectWay | None = None
    """The way past the API server, which connections take while there is one."""
    beside: Callable[[int], Connector] | None = None
    """Returns the way to another port of the pod, which bulk may take."""


@dataclass(frozen=True, slots=True)
class _Standing(Generic[T]):
    """A _Standing is a connection that stands, until `ended`."""

    connection: AgentConnection[T]
    lanes: Lanes
    ended: asyncio.Event


class Uplink(Generic[T]):
    """An Uplink finds its pod, dials it, confirms its host key, holds the connection, and dials again. `run` it."""

    def __init__(
        self,
        find_pod: Callable[[], Awaitable[AgentPod | None]],
        client_key: ClientKey,
        command: AgentCommand[T],
        policy: DialPolicy,
        *,
        hold: Callable[[AgentConnection[T]], Awaitable[LinkLost | None]] = lambda connection: connection.wait_closed(),
        may_widen: bool = False,
    ) -> None:
        """`find_pod` is asked before each attempt; None ends the uplink. `hold` works with a connection until it ends,
        and returns why it was lost, None when it was closed. `may_widen` lets channels spread over Lanes."""
        self._find_pod = find_pod
        self._client_key = client_key
        self._command = command
        self._policy = policy
        self._hold = hold
        self._may_widen = may_widen
        self._up: asyncio.Future[_Standing[T]] = asyncio.get_running_loop().create_future()
        """Has an error once there will be no connection any more."""
        self._connection: AgentConnection[T] | None = None
        self._dialling: asyncio.Timeout | None = None
        """The dial that is under way; it has no limit until `lose` sets one."""
        self._lanes: Lanes | None = None
        self._carried = Carried()

    def carried(self) -> Carried:
        """Return what was carried over the connections that have ended and this one."""
        found = replace(self._carried)
        if self._lanes:
            found.add(self._lanes.carried())
        return found

    async def wait_up(self) -> T:
        """Wait until a connection stands, and return what the agent said first. `run` must run meanwhile.

        Raises ConnectionAbortedError once it has ended.
        """
        return (await asyncio.shield(self._up)).connection.hello

    async def connection(self) -> AgentConnection[T]:
        """Wait until a connection stands that has not ended, and return it. Raises as `wait_up` does."""
        while (standing := await asyncio.shield(self._up)).connection.is_closed:
            await standing.ended.wait()
        return standing.connection

    async def output_of(self, command: str) -> AsyncIterator[bytes]:
        """Yield what the agent answers to a command on a channel of its own. `run` must run meanwhile.

        Raises LinkLost when the link is lost before the answer's end, ConnectionAbortedError once there is none.
        """
        connection = await self.connection()
        try:
            process = await connection.ssh.create_process(command, encoding=None, stdin=asyncssh.DEVNULL)
            try:
                while data := await process.stdout.read(_READ_BYTES):
                    yield data
            finally:
                process.close()  # sshd answers that only when the command has ended, which may wait long
        except (asyncssh.Error, OSError) as exc:
            raise connection.reason or link_lost(exc) from exc
        if connection.is_closed:
            raise connection.reason or LinkLost("The link to the pod was closed.")

    @asynccontextmanager
    async def process(self, command: str) -> AsyncIterator["asyncssh.SSHClientProcess[bytes]"]:
        """Run a command of the agent's on a channel of its own while the block runs. `run` must run meanwhile.

        Raises LinkLost when the link is lost before it runs, ConnectionAbortedError once there is none.
        """
        connection = await self.connection()
        try:
            process = await connection.ssh.create_process(command, encoding=None)
        except (asyncssh.Error, OSError) as exc:
            raise connection.reason or link_lost(exc) from exc
        try:
            yield process
        finally:
            process.close()

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int, *, within_s: float | None = None
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod, see `Dialer`, over the connection that stands, or the next one.

        Raises TimeoutError when none stands `within_s` seconds, ConnectionAbortedError once none ever will.
        """
        while True:
            async with asyncio.timeout(within_s):
                standing = await asyncio.shield(self._up)
            try:
                return await standing.lanes.create_connection(protocol_factory, host, port)
            except ConnectionAbortedError:  # the link was lost: nothing has come of it on the far side that counts
                await standing.ended.wait()

    def lose(self, why: LinkLost) -> None:
        """Give up the connection that stands or is being opened, because its pod is lost, or the way to it."""
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.reschedule(0)
        elif self._connection is not None:
            self._connection.lose(why)

    async def run(self) -> None:
        """Hold a connection as long as there is a pod; return when there is none, or after `close`.

        Raises HostKeyMismatch, and what the policy raises. The connection stands on when this is cancelled or a
        host key does not match: whoever unwinds calls `close`.
        """
        try:
            await self._run()
        except KtpyError as error:
            self._end(error)
            raise
        self._end(None)

    async def _run(self) -> None:
        was_lost = False
        while (pod := await self._find_pod()) is not None:
            connection = await self._dial(pod)
            if connection is None:
                continue
            if was_lost:
                _forget_lost()
            lanes = self._go_up(connection, pod)
            async with task_group() as tasks:
                beside = [tasks.create_task(_confirm(pod, connection), name="confirm host key")]
                if self._may_widen:
                    beside.append(tasks.create_task(lanes.widen(), name="widen the link"))
                reason = await self._hold(connection)
                for task in beside:
                    task.cancel()
            self._go_down()
            if reason is None:
                return
            was_lost = True
            await self._policy.link_lost(reason)

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._connection is not None:
            self._connection.close()
        self._end(None)

    async def _dial(self, pod: AgentPod) -> AgentConnection[T] | None:
        began_s = time.monotonic()
        try:
            with traced("dial", pod.name, level=logging.DEBUG):  # a pod that starts is dialled 20 times a second
                return await self._open(pod)
        except TimeoutError:  # `lose`
            return None
        except KtpyError as error:
            await self._policy.dial_failed(error, began_s)
            return None

    async def _open(self, pod: AgentPod) -> AgentConnection[T]:
        async with asyncio.timeout(None) as self._dialling:
            try:
                return await self._connect(pod)
            finally:
                self._dialling = None

    async def _connect(self, pod: AgentPod, connector: Connector | None = None) -> AgentConnection[T]:
        return await AgentConnection.open(connector or pod.connector, self._client_key, self._command, pod.server)

    def _go_up(self, connection: AgentConnection[T], pod: AgentPod) -> Lanes:
        self._carried = self.carried()
        self._connection = connection
        self._lanes = Lanes(connection, partial(self._connect, pod), pod.direct, pod.beside)
        self._up.set_result(_Standing(connection, self._lanes, asyncio.Event()))
        return self._lanes

    def _go_down(self) -> None:
        if self._up.done() and not self._up.exception():
            self._up.result().ended.set()
            self._up = asyncio.get_running_loop().create_future()

    def _end(self, why: KtpyError | None) -> None:
        """Let nobody wait for a connection any more."""
        self._go_down()
        if not self._up.done():
            self._up.set_exception(ConnectionAbortedError(str(why or "The tunnel is closed.")))
            self._up.exception()  # often nobody waits


def _forget_lost() -> None:
    """Free the memory of what was lost: it refers to itself, and is 1 MB.

    Python would look for it after dozens of losses only, and while all is in use: now nothing flows yet. What a session
    has once it stands is frozen, and so is its first connection: it would stay for good.
    """
    is_frozen = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if is_frozen:
        gc.freeze()


async def _confirm(pod: AgentPod, connection: AgentConnection[T]) -> None:
    """Raise HostKeyMismatch if it is not the pod that answers. This is off the critical path."""
    printed = await pod.printed_host_key()
    if printed in (None, connection.host_key):
        return
    try:
        async with asyncio.timeout(pod.restart_grace_s):
            await connection.wait_closed()  # the container has been started again since, with a key of its own
    except TimeoutError:
        raise HostKeyMismatch(pod.mismatch, hint="Tell whoever runs the cluster.") from None


async def refusal_of(process: "asyncssh.SSHClientProcess[bytes]", within_s: float) -> str | None:
    """Return what a command of the agent's said last that failed; None where its link was lost, or a signal ended it.

    Its exit status comes soon after the end of what it says, unless the link is lost.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await process.wait_closed()
    if (process.exit_status or 0) <= 0:
        return None
    return (await process.stderr.read()).decode(errors="replace").strip()
