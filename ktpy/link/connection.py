"""An SSH connection to the agent in a pod, with the agent's session on it, as shadow and gateway both have it."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from ktpy.errors import KtpyError, LinkLost, PodFailed
from ktpy.frozen import dataclass
from ktpy.link.channel import Link
from ktpy.link.key import ClientKey
from ktpy.link.session import AgentCommand, AgentSession, link_lost
from ktpy.link.ssh_library import asyncssh
from ktpy.link.ssh_packets import ShortWay
from ktpy.wire.pod import LOGIN, SSHD_PORT

T = TypeVar("T")

KEEPALIVE_INTERVAL_S: Final = 3.0
KEEPALIVE_COUNT: Final = 2
"""A silent link is given up after (KEEPALIVE_COUNT + 1) * KEEPALIVE_INTERVAL_S = 9 s."""
OPEN_TIMEOUT_S: Final = 10.0
KEY_AGAIN_AFTER_S: Final = (0.05, 0.05, 0.1, 0.2)
"""When a key that was not taken is offered again: the kubelet tells a pod some 0.2 s later what it may take.

Another connection would cost more than that. sshd hears of six keys (MaxAuthTries in sshd_config(5)).
"""

WINDOW_MAX_BYTES: Final = 8 << 20
"""asyncssh renews a window when half of it is used: 8 MiB keep 400 Mbit/s busy over a round trip of 80 ms."""
WINDOW_MIN_BYTES: Final = 256 << 10
WINDOW_BUDGET_BYTES: Final = 64 << 20

# aes128-gcm runs on the CPU's AES instructions: twice as fast as chacha20, which OpenSSH and asyncssh both prefer.
_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")


class KeyNotTaken(PodFailed):
    """The agent does not know this session's key. It may know a key that was announced a moment ago soon."""

    is_transient = True


@dataclass(frozen=True, slots=True)
class AgentServer:
    """An AgentServer is the agent's sshd as the connector reaches it."""

    host: str = "pod"
    port: int = SSHD_PORT
    username: str = LOGIN
    timeout_s: float = OPEN_TIMEOUT_S
    """Until the agent has said its first line."""
    keepalive_interval_s: float = KEEPALIVE_INTERVAL_S


class Connector(Protocol):
    """A Connector opens the byte stream that SSH runs on. A PortForward is one, and so is an event loop."""

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]: ...


class _Client(asyncssh.SSHClient):
    """A _Client knows why its connection was given up, and offers its key more than once."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        self._key = key
        self._pauses_s = iter(KEY_AGAIN_AFTER_S)
        self.closed: asyncio.Future[LinkLost | None] = asyncio.get_running_loop().create_future()
        self.reason: LinkLost | None = None
        self.is_closing = False
        self._ssh: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._ssh = conn

    async def public_key_auth_requested(self) -> list[asyncssh.SSHKey] | None:
        for pause_s in self._pauses_s:
            await asyncio.sleep(pause_s)
            return [self._key]
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ssh:
            ShortWay.remove(self._ssh)
        if self.reason is None and exc is not None:
            self.reason = link_lost(exc)
        if not self.closed.done():
            self.closed.set_result(self.reason)

    def stand(self, ssh: asyncssh.SSHClientConnection) -> None:
        """Have channels end with an error of asyncssh's from now on: what else has ended the link is the `reason`."""
        end = ssh.connection_lost

        def connection_lost(exc: Exception | None = None) -> None:
            if isinstance(exc, KtpyError):
                self.reason = self.reason or link_lost(exc)
                exc = asyncssh.ConnectionLost(str(exc))
            end(exc)

        ssh.connection_lost = connection_lost  # type: ignore[method-assign]

    def lose(self, why: LinkLost) -> None:
        if self.is_closing or self.closed.done():
            return
        if self.reason is None:
            self.reason = why
        if self._ssh:
            self._ssh.connection_lost(self.reason)  # `abort` would end channels as if they had come to their end

    def abort(self) -> None:
        if self._ssh:
            self._ssh.abort()


class AgentConnection(Generic[T]):
    """An AgentConnection is an SSH connection whose first channel is a session of the agent. `open` makes it.

    Without a session channel sshd leaves Nagle's algorithm on, and each small answer took 38 ms instead of 2.
    """

    def __init__(
        self, ssh: asyncssh.SSHClientConnection, session: AgentSession[T], hello: T, client: _Client, link: Link
    ) -> None:
        key = ssh.get_server_host_key()
        client.stand(ssh)
        self.ssh = ssh
        self.session = session
        self.hello = hello
        """What the agent said first."""
        self.host_key = key.export_public_key().decode().strip() if key else ""
        """The pod's SSH host key as a public line, to be compared with the one in the pod's log."""
        self.link = link
        self._client = client

    @classmethod
    async def open(
        cls, connector: Connector, client_key: ClientKey, command: AgentCommand[T], server: AgentServer
    ) -> "AgentConnection[T]":
        """Connect, log in, start the session, and wait for what the agent says first.

        Raises what the connector and `command.parse_answer` raise, LinkLost, KeyNotTaken, and PodFailed when what
        answers is not our agent.
        """
        key = asyncssh.import_private_key(client_key.private_pem)
        link, client = Link(), _Client(key)
        session = AgentSession(command, client.lose)
        try:
            async with asyncio.timeout(server.timeout_s):
                # The host key is not checked here: that this stream ends in the pod is the API server's word, given
                # over TLS. Whoever may read the pod's log compares `host_key` with it, off the critical path.
                ssh = await asyncssh.connect(
                    server.host,
                    server.port,
                    tunnel=_Tap(connector, link),
                    client_factory=lambda: client,
                    username=server.username,
                    client_keys=[key],
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
                await ssh.create_session(lambda: session, command.command, encoding=None)
                return cls(ssh, session, await session.answer, client, link)
        except BaseException as exc:
            client.abort()
            if isinstance(exc, TimeoutError):
                raise LinkLost(f"The agent in the pod did not say hello within {server.timeout_s:g} s.") from exc
            if isinstance(exc, asyncssh.PermissionDenied):
                raise KeyNotTaken(
                    "The agent in the pod does not take this session's key.",
                    hint="Is the image the agent of this version of ktpy? See --image.",
                ) from exc
            if isinstance(exc, (asyncssh.Error, OSError)):
                raise client.reason or link_lost(exc) from exc
            raise

    @property
    def is_closed(self) -> bool:
        return self._client.closed.done()

    @property
    def reason(self) -> LinkLost | None:
        """Why the link was lost, as far as that is known."""
        return self._client.reason

    @property
    def window_bytes(self) -> int:
        """A fair share of the budget for one more channel: a reader who stalls may cost us as much memory."""
        return max(WINDOW_MIN_BYTES, min(WINDOW_MAX_BYTES, WINDOW_BUDGET_BYTES // (self.link.open_channels + 1)))

    async def wait_closed(self) -> LinkLost | None:
        """Wait for the end; return why the link was lost, None when `close` was called."""
        return await asyncio.shield(self._client.closed)

    def close(self) -> None:
        """Say goodbye to sshd and close; every channel ends. `wait_closed` tells when."""
        self._client.is_closing = True
        self.ssh.close()

    def lose(self, why: LinkLost) -> None:
        self._client.lose(why)


class _Tap:
    """A _Tap opens the stream that asyncssh runs on, as its `tunnel=`, and tells the link of congestion there."""

    def __init__(self, connector: Connector, link: Link) -> None:
        self._connector, self._link = connector, link

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]:
        def make_protocol() -> Any:
            ssh = protocol_factory()
            ShortWay.install(ssh)
            ssh.pause_writing, ssh.resume_writing = self._link.congest, self._link.clear  # asyncssh has none
            return ssh

        return await self._connector.create_connection(make_protocol, host, port)

    def close(self) -> None:
        """Do nothing: asyncssh closes its tunnel after the connection, whose transport is closed by then."""
