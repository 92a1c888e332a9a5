"""An SSH connection to the agent in a pod, with the agent's session on it: what shadow and gateway have in common."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import asyncssh

from ktpy.errors import ApiUnreachable, KtpyError, LinkLost, PodFailed, PodNotReady
from ktpy.kube.portforward.port_forward import PortForwardNotYet
from ktpy.link.channel import Link
from ktpy.link.key import ClientKey
from ktpy.observe.trace import traced
from ktpy.wire.pod import LOGIN, MAX_LINE_BYTES, SSHD_PORT

T = TypeVar("T")

KEEPALIVE_INTERVAL_S: Final = 3.0
KEEPALIVE_COUNT: Final = 2
"""A silent link is given up after (KEEPALIVE_COUNT + 1) * KEEPALIVE_INTERVAL_S = 9 s."""
OPEN_TIMEOUT_S: Final = 10.0
DIAL_INTERVAL_S: Final = 0.05

WINDOW_MAX_BYTES: Final = 8 << 20
"""asyncssh renews a window when half of it is used: 8 MiB keep 400 Mbit/s busy over a round trip of 80 ms."""
WINDOW_MIN_BYTES: Final = 256 << 10
WINDOW_BUDGET_BYTES: Final = 64 << 20

# aes128-gcm runs on the CPU's AES instructions: twice as fast as chacha20, which OpenSSH and asyncssh both prefer.
_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")


class KeyNotTaken(PodFailed):
    """The agent does not know this session's key; where it was announced a moment ago: not yet."""

    is_transient = True


@dataclass(frozen=True, slots=True)
class AgentServer:
    """The agent's sshd as the connector reaches it, and how patient one is with it."""

    host: str = "pod"
    port: int = SSHD_PORT
    username: str = LOGIN
    timeout_s: float = OPEN_TIMEOUT_S
    """Until the agent has said its first line."""
    keepalive_interval_s: float = KEEPALIVE_INTERVAL_S


class Connector(Protocol):
    """Opens the byte stream that SSH runs on: a PortForward, or an event loop."""

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]: ...


class AgentConnection:
    """An SSH connection whose first channel is a session of the agent.

    The session channel comes first: sshd leaves Nagle's algorithm on for a connection that only forwards, and each
    small answer then took 38 ms instead of 2. It carries what both sides have to say, and the beats that tell the
    agent we are alive.
    """

    def __init__(self) -> None:
        self.host_key = ""
        """The pod's SSH host key as a public line, to be compared with the one in the pod's log."""
        self._link = Link()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._closed: asyncio.Future[LinkLost | None] = asyncio.get_running_loop().create_future()
        self._reason: LinkLost | None = None
        self._closing = False

    async def _connect(
        self,
        connector: Connector,
        client_key: ClientKey,
        session: "AgentSession[T]",
        server: AgentServer,
    ) -> T:
        """Connect, log in, start the session; what the agent said first.

        Raises what the connector raises (PortForwardNotYet when nobody listens in the pod yet), LinkLost when the
        connection breaks on the way, KeyNotTaken, and what `session` makes of the first line.
        """
        try:
            async with asyncio.timeout(server.timeout_s):
                # The host key is not checked here: that this stream ends in the pod is the API server's word, given
                # over TLS. Whoever may read the pod's log compares `host_key` with it, off the critical path.
                connection = await asyncssh.connect(
                    server.host,
                    server.port,
                    tunnel=_Tap(connector, self._link),
                    client_factory=lambda: _Client(self),
                    username=server.username,
                    client_keys=[asyncssh.import_private_key(client_key.private_pem)],
                    preferred_auth=["publickey"],
                    known_hosts=None,
                    config=None,
                    agent_path=None,
                    gss_host=None,
                    encryption_algs=_CIPHERS,
                    compression_algs=None,
                    keepalive_interval=server.keepalive_interval_s,
                    keepalive_count_max=KEEPALIVE_COUNT,
                    login_timeout=server.timeout_s,
                )
                self._connection = connection
                key = connection.get_server_host_key()
                self.host_key = key.export_public_key().decode().strip() if key else ""
                await connection.create_session(lambda: session, session.command, encoding=None)
                return await session.answer
        except TimeoutError as exc:
            self._abort()
            raise LinkLost(f"The agent in the pod did not say hello within {server.timeout_s:g} s.") from exc
        except asyncssh.PermissionDenied as exc:
            self._abort()
            raise KeyNotTaken(
                "The agent in the pod does not take this session's key.",
                hint="Is the image the agent of this version of ktpy? See --image.",
            ) from exc
        except (asyncssh.Error, OSError) as exc:
            self._abort()
            raise self._reason or _link_lost(exc) from exc
        except BaseException:
            self._abort()
            raise

    @property
    def sent_bytes(self) -> int:
        """Payload bytes written to channels."""
        return self._link.sent_bytes

    @property
    def received_bytes(self) -> int:
        """Payload bytes that came on channels."""
        return self._link.received_bytes

    async def wait_closed(self) -> LinkLost | None:
        """Wait for the end; returns why the link was lost, None when `close` was called."""
        return await asyncio.shield(self._closed)

    def close(self) -> None:
        """Say goodbye to sshd and close; every channel ends. `wait_closed` tells when."""
        self._closing = True
        if self._connection:
            self._connection.close()

    def lose(self, why: LinkLost) -> None:
        """Give the link up for a reason of our own."""
        if self._closing or self._closed.done():
            return
        if self._reason is None:
            self._reason = why
        self._abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncssh's word that the connection has ended."""
        if self._reason is None and exc is not None:
            self._reason = _link_lost(exc)
        if not self._closed.done():
            self._closed.set_result(self._reason)

    def _abort(self) -> None:
        if self._connection:
            self._connection.abort()

    def _window_bytes(self) -> int:
        """A fair share of the budget, since each window is memory that a reader who stalls may cost us."""
        return max(WINDOW_MIN_BYTES, min(WINDOW_MAX_BYTES, WINDOW_BUDGET_BYTES // (self._link.open_channels + 1)))


class AgentSession(asyncssh.SSHClientSession[bytes], Generic[T]):
    """The session channel: lines from the agent, beats to it. When it ends, so does the link."""

    def __init__(
        self,
        connection: AgentConnection,
        command: str,
        *,
        beat_interval_s: float,
        parse_answer: Callable[[bytes], T],
        opening: bytes = b"",
        beat: bytes = b"\n",
        on_line: Callable[[bytes], None] | None = None,
    ) -> None:
        """`opening` is said first, then `beat` again and again.

        `parse_answer` makes `answer` of the agent's first line; it raises ValueError when that is not the agent we
        expect. Later lines go to `on_line`, which may raise ValueError too: then the link is lost.
        """
        self.command = command
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._opening = opening
        self._beat_line = beat
        self._beat_interval_s = beat_interval_s
        self._parse_answer = parse_answer
        self._on_line = on_line
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._unread = b""
        self._complaint = b""
        self._timer: asyncio.TimerHandle | None = None

    def say(self, line: bytes) -> None:
        """Send a line of our own, without waiting; nothing happens once the channel is gone."""
        if self._channel and not self._channel.is_closing():
            self._channel.write(line + b"\n")

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        if self._channel and self._opening:
            self._channel.write(self._opening)
        self._beat()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self._complaint = (self._complaint + data)[-1024:]
            return
        if self.answer.done() and self._on_line is None:
            return  # the agent has nothing more to say that we expect
        *lines, self._unread = (self._unread + data).split(b"\n")
        if len(self._unread) > MAX_LINE_BYTES:
            lines.append(self._unread)
            self._unread = b""
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        if self.answer.done():
            if self._on_line is not None:
                try:
                    self._on_line(line)
                except ValueError as exc:
                    self._connection.lose(LinkLost(f"The agent in the pod does not keep to the protocol: {exc}."))
            return
        try:
            self.answer.set_result(self._parse_answer(line))
        except ValueError as exc:
            self.answer.set_exception(
                PodFailed(
                    f"What answers in the pod is not ktpy's agent of this version: {exc}.",
                    hint="Use the image that belongs to this version of ktpy, see --image.",
                )
            )
        except KtpyError as exc:
            self.answer.set_exception(exc)  # the agent's no

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._channel = None
        said = self._complaint.decode(errors="replace").strip()
        ended = f"The agent in the pod ended the session{': ' + said if said else ''}."
        if not self.answer.done():
            self.answer.set_exception(_link_lost(exc) if exc else PodFailed(ended))
        if exc is None:
            self._connection.lose(LinkLost(ended))

    def _beat(self) -> None:
        if self._channel and not self._channel.is_closing():
            self._channel.write(self._beat_line)
            self._timer = asyncio.get_running_loop().call_later(self._beat_interval_s, self._beat)


async def dial(open_once: Callable[[], Awaitable[T]], *, timeout_s: float, interval_s: float = DIAL_INTERVAL_S) -> T:
    """Open a connection to a pod that may only just be starting: try every `interval_s` until it answers.

    The kubelet tells a pod's state up to a second late, while a port-forward works as soon as sshd listens. What will
    not go away by itself (401, 403, a pod that is gone, a foreign image) is raised at once; after `timeout_s` the
    last failure is.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        started_s = time.monotonic()
        try:
            with traced("dial", "the pod's agent"):
                return await open_once()
        except (PortForwardNotYet, ApiUnreachable, LinkLost) as exc:
            now_s = time.monotonic()
            if now_s >= deadline_s:
                if isinstance(exc, ApiUnreachable):
                    raise
                raise PodNotReady(f"The pod did not accept an SSH session within {timeout_s:g} s. {exc}") from exc
        await asyncio.sleep(max(0.0, started_s + interval_s - now_s))


class _Tap(asyncio.Protocol):
    """Stands between the port-forward and asyncssh, to hear of congestion. asyncssh takes it as its `tunnel=`."""

    def __init__(self, connector: Connector, link: Link) -> None:
        self._connector = connector
        self._link = link
        self._inner: Any = None

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]:
        self._inner = protocol_factory()
        transport, _ = await self._connector.create_connection(lambda: self, host, port)
        return transport, self._inner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> None:
        self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._link.congested = True

    def resume_writing(self) -> None:
        self._link.clear()

    def close(self) -> None:
        """asyncssh closes its tunnel after the connection; the transport is closed by then."""


class _Client(asyncssh.SSHClient):
    def __init__(self, connection: AgentConnection) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


def _link_lost(exc: BaseException) -> LinkLost:
    if isinstance(exc, LinkLost):
        return exc
    if isinstance(exc, asyncssh.ConnectionLost) and "keepalive" in exc.reason:
        return LinkLost("The link to the pod went silent, so ktpy gave it up.")
    text = exc.reason if isinstance(exc, asyncssh.DisconnectError) else str(exc)
    return LinkLost(f"The link to the pod was lost: {text.rstrip('.') or type(exc).__name__}.")
