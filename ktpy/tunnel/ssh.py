"""The SSH connection to the agent in the pod: opened over a port-forward, kept alive, and given out as channels."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Protocol, TypeVar

import asyncssh

from ktpy.cluster.port_forward import PortForwardNotYet
from ktpy.errors import ApiUnreachable, LinkLost, PodFailed, PodNotReady
from ktpy.tunnel.channel import Channel, Link, open_failure
from ktpy.tunnel.key import ClientKey

P = TypeVar("P", bound=asyncio.Protocol)

USERNAME: Final = "ktpy"
SESSION_COMMAND: Final = "ktpy-agent session"
BEAT_INTERVAL_S: Final = 5.0
"""The agent ends the session after 20 s without a beat."""
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
_HELLO_LIMIT_BYTES: Final = 64 << 10
_HELLO_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """What the agent says first: its version, and the resolver of the pod it runs in."""

    agent: str
    nameservers: tuple[str, ...]
    search: tuple[str, ...]

    @classmethod
    def parse(cls, line: bytes) -> "Hello":
        """Raises ValueError for anything else than a hello of the version this ktpy speaks."""
        try:
            message = json.loads(line)
            if message["version"] != _HELLO_VERSION:
                raise ValueError(f"it speaks version {message['version']}, ktpy speaks {_HELLO_VERSION}")
            resolver = message["resolv_conf"]
            return cls(str(message["agent"]), tuple(resolver["nameservers"]), tuple(resolver["search"]))
        except (KeyError, TypeError) as exc:
            raise ValueError(f"its hello lacks {exc}") from exc


class Connector(Protocol):
    """Opens the byte stream that SSH runs on: a PortForward, or an event loop."""

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]: ...


class SshTunnel:
    """An SSH connection with the agent's session on it. `create_connection` dials from inside the pod.

    The session channel comes first: sshd leaves Nagle's algorithm on for a connection that only forwards, and each
    small answer then took 38 ms instead of 2. It carries the agent's hello, and the beats that tell the agent
    we are alive.
    """

    def __init__(self) -> None:
        self.hello = Hello("", (), ())
        self.host_key = ""
        """The pod's SSH host key as a public line, to be compared with the one in the pod's log."""
        self._link = Link()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._closed: asyncio.Future[LinkLost | None] = asyncio.get_running_loop().create_future()
        self._reason: LinkLost | None = None
        self._closing = False
        self._openings: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        connector: Connector,
        client_key: ClientKey,
        *,
        host: str = "pod",
        port: int = 2222,
        username: str = USERNAME,
        timeout_s: float = OPEN_TIMEOUT_S,
        beat_interval_s: float = BEAT_INTERVAL_S,
        keepalive_interval_s: float = KEEPALIVE_INTERVAL_S,
    ) -> "SshTunnel":
        """Connect, log in, and read the agent's hello.

        Raises what the connector raises (PortForwardNotYet when nobody listens in the pod yet), LinkLost when the
        connection breaks on the way, PodFailed when what answers is not our agent or does not take our key.
        """
        tunnel = cls()
        try:
            async with asyncio.timeout(timeout_s):
                # The host key is not checked here: that this stream ends in the pod is the API server's word, given
                # over TLS. Whoever may read the pod's log compares `host_key` with it, off the critical path.
                connection = await asyncssh.connect(
                    host,
                    port,
                    tunnel=_Tap(connector, tunnel._link),
                    client_factory=lambda: _Client(tunnel),
                    username=username,
                    client_keys=[asyncssh.import_private_key(client_key.private_pem)],
                    preferred_auth=["publickey"],
                    known_hosts=None,
                    config=None,
                    agent_path=None,
                    gss_host=None,
                    encryption_algs=_CIPHERS,
                    compression_algs=None,
                    keepalive_interval=keepalive_interval_s,
                    keepalive_count_max=KEEPALIVE_COUNT,
                    login_timeout=timeout_s,
                )
                tunnel._connection = connection
                key = connection.get_server_host_key()
                tunnel.host_key = key.export_public_key().decode().strip() if key else ""
                session = _AgentSession(tunnel, beat_interval_s)
                await connection.create_session(lambda: session, SESSION_COMMAND, encoding=None)
                tunnel.hello = await session.hello
        except TimeoutError as exc:
            tunnel._abort()
            raise LinkLost(f"The agent in the pod did not say hello within {timeout_s:g} s.") from exc
        except asyncssh.PermissionDenied as exc:
            tunnel._abort()
            raise PodFailed(
                "The agent in the pod does not take this session's key.",
                hint="Is the image the agent of this version of ktpy? See --image.",
            ) from exc
        except (asyncssh.Error, OSError) as exc:
            tunnel._abort()
            raise tunnel._reason or _link_lost(exc) from exc
        except BaseException:
            tunnel._abort()
            raise
        return tunnel

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from inside the pod, as `loop.create_connection` does from here.

        `host` must be an address: sshd resolves a name with everything else on the connection waiting. Raises the
        OSError that `connect` raised in the pod (see `open_failure`), ConnectionAbortedError when the link is lost.
        There is no time limit but the pod's kernel's (two minutes): cancel it, which leaves nothing behind.
        """
        ip_address(host)
        if self._connection is None or self._closed.done():
            raise ConnectionAbortedError(str(self._reason or "The tunnel is closed."))
        channel = Channel(self._link, protocol_factory, (host, port))
        # asyncssh forgets a channel whose opening is cancelled, and sshd would hold it: so let it open, then close it.
        opening = asyncio.get_running_loop().create_task(self._open(channel, host, port), name=f"open {host}:{port}")
        self._openings.add(opening)
        opening.add_done_callback(self._openings.discard)
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            channel.abandon()
            opening.add_done_callback(_retrieve)
            raise
        except asyncssh.ChannelOpenError as exc:
            if self._closed.done():
                raise ConnectionAbortedError(str(self._reason or "The tunnel is closed.")) from exc
            raise open_failure(exc) from exc
        return channel, channel.get_protocol()  # type: ignore[return-value]  # what protocol_factory made

    async def _open(self, channel: Channel, host: str, port: int) -> None:
        assert self._connection is not None  # noqa: S101  # create_connection has looked
        await self._connection.create_connection(
            lambda: channel, host, port, encoding=None, window=self._window_bytes()
        )

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


async def dial_until(
    connector: Connector,
    client_key: ClientKey,
    *,
    timeout_s: float,
    interval_s: float = DIAL_INTERVAL_S,
    **options: Any,
) -> SshTunnel:
    """Open a tunnel to a pod that may only just be starting: try every `interval_s` until it answers.

    The kubelet tells a pod's state up to a second late, while a port-forward works as soon as sshd listens. What will
    not go away by itself (401, 403, a pod that is gone, a foreign image) is raised at once; after `timeout_s` the
    last failure is. `options` are those of `SshTunnel.open`.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        started_s = time.monotonic()
        try:
            return await SshTunnel.open(connector, client_key, **options)
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
    def __init__(self, tunnel: SshTunnel) -> None:
        self._tunnel = tunnel

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.connection_lost(exc)


class _AgentSession(asyncssh.SSHClientSession[bytes]):
    """The session channel: one line from the agent, then beats to it. When it ends, so does the link."""

    def __init__(self, tunnel: SshTunnel, beat_interval_s: float) -> None:
        self.hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self._tunnel = tunnel
        self._beat_interval_s = beat_interval_s
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._line = b""
        self._complaint = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._beat()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self._complaint = (self._complaint + data)[-1024:]
            return
        if self.hello.done():
            return  # the agent has nothing more to say in this version
        self._line += data
        line, newline, _ = self._line.partition(b"\n")
        if not newline and len(self._line) < _HELLO_LIMIT_BYTES:
            return
        try:
            self.hello.set_result(Hello.parse(line))
        except ValueError as exc:
            self.hello.set_exception(
                PodFailed(
                    f"What answers in the pod is not ktpy's agent of this version: {exc}.",
                    hint="Use the image that belongs to this version of ktpy, see --image.",
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._channel = None
        said = self._complaint.decode(errors="replace").strip()
        ended = f"The agent in the pod ended the session{': ' + said if said else ''}."
        if not self.hello.done():
            self.hello.set_exception(_link_lost(exc) if exc else PodFailed(ended))
        if exc is None:
            self._tunnel.lose(LinkLost(ended))

    def _beat(self) -> None:
        if self._channel and not self._channel.is_closing():
            self._channel.write(b"\n")
            self._timer = asyncio.get_running_loop().call_later(self._beat_interval_s, self._beat)


def _link_lost(exc: BaseException) -> LinkLost:
    if isinstance(exc, LinkLost):
        return exc
    if isinstance(exc, asyncssh.ConnectionLost) and "keepalive" in exc.reason:
        return LinkLost("The link to the pod went silent, so ktpy gave it up.")
    text = exc.reason if isinstance(exc, asyncssh.DisconnectError) else str(exc)
    return LinkLost(f"The link to the pod was lost: {text.rstrip('.') or type(exc).__name__}.")


def _retrieve(opening: "asyncio.Task[None]") -> None:
    """The opener was cancelled, and nobody else asks how it went."""
    if not opening.cancelled():
        opening.exception()
