"""The agent's session, the first channel of an SSH connection: it carries lines both ways."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from ktpy.errors import KtpyError, LinkLost, LinkSilent, PodFailed
from ktpy.frozen import dataclass
from ktpy.link.ssh_library import asyncssh
from ktpy.link.ssh_packets import write_data
from ktpy.wire.pod import MAX_LINE_BYTES, SESSION_BEAT_S
from ktpy.wire.session import AgentHello

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AgentCommand(Generic[T]):
    """An AgentCommand is what the agent runs in the session, and the lines that go to and fro there."""

    command: str
    parse_answer: Callable[[bytes], T]
    """Reads the agent's first line; raises ValueError for another agent's, a KtpyError when the agent says no."""
    beat_interval_s: float
    beat: bytes = b"\n"
    """Is sent every `beat_interval_s`."""
    opening: bytes = b""
    """Is sent first."""
    on_line: Callable[[bytes], None] | None = None
    """Gets each later line; when it raises ValueError the link is lost."""
    on_data: Callable[[bytes], None] | None = None
    """Gets, instead of lines, whatever bytes come later; as `on_line`."""


SHADOW_SESSION: Final = AgentCommand("ktpy-agent session", AgentHello.parse, SESSION_BEAT_S)
"""What the agent in a shadow pod runs."""


class AgentSession(asyncssh.SSHClientSession[bytes], Generic[T]):
    """An AgentSession takes lines from the agent and sends it beats. The link ends with it."""

    def __init__(self, agent_command: AgentCommand[T], lose: Callable[[LinkLost], None]) -> None:
        """`lose` gives up the connection for the reason it is called with."""
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._command = agent_command
        self._lose = lose
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._unread = b""
        self._complaint = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        if self._channel and self._command.opening:
            self._channel.write(self._command.opening)
        self._beat()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self._complaint = (self._complaint + data)[-1024:]
            return
        if self._command.on_data is not None:
            self._take_data(data)
            return
        if self.answer.done() and self._command.on_line is None:
            return  # the agent has nothing more to say that we expect
        *lines, self._unread = (self._unread + data).split(b"\n")
        if len(self._unread) > MAX_LINE_BYTES:
            lines.append(self._unread)
            self._unread = b""
        for line in lines:
            self._take(line)

    def _take_data(self, data: bytes) -> None:
        """Take the first line, then data."""
        if not self.answer.done():
            line, newline, data = (self._unread + data).partition(b"\n")
            self._unread = b"" if newline else line
            if newline or len(line) > MAX_LINE_BYTES:
                self._take(line)
        if data:
            self._tell(self._command.on_data, data)

    def _tell(self, whom: Callable[[bytes], None] | None, what: bytes) -> None:
        if whom is not None:
            try:
                whom(what)
            except ValueError as exc:
                self._lose(LinkLost(f"The agent in the pod does not keep to the protocol: {exc}."))

    def _take(self, line: bytes) -> None:
        if self.answer.done():
            self._tell(self._command.on_line, line)
            return
        try:
            self.answer.set_result(self._command.parse_answer(line))
        except ValueError as exc:
            self.answer.set_exception(
                PodFailed(
                    f"What answers in the pod is not ktpy's agent of this version: {exc}.",
                    hint="Use the image that belongs to this version of ktpy, see --image.",
                )
            )
        except KtpyError as exc:
            self.answer.set_exception(exc)  # the agent's no

    @property
    def unsent_bytes(self) -> int:
        """What waits here because the agent does not read."""
        return self._channel.get_write_buffer_size() if self._channel else 0

    def write(self, data: bytes) -> None:
        """Send it to the agent; it is lost when the session has ended."""
        if self._channel and not self._channel.is_closing():
            write_data(self._channel, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._channel = None
        said = self._complaint.decode(errors="replace").strip()
        ended = f"The agent in the pod ended the session{': ' + said if said else ''}."
        if not self.answer.done():
            self.answer.set_exception(link_lost(exc) if exc else PodFailed(ended))
        if exc is None:
            self._lose(LinkLost(ended))

    def _beat(self) -> None:
        if self._channel and not self._channel.is_closing():
            self._channel.write(self._command.beat)
            self._timer = asyncio.get_running_loop().call_later(self._command.beat_interval_s, self._beat)


def link_lost(exc: BaseException) -> LinkLost:
    """Return the LinkLost that says in what way `exc` ended the connection."""
    if isinstance(exc, LinkLost):
        return exc
    if isinstance(exc, asyncssh.ConnectionLost) and "keepalive" in exc.reason:
        return LinkSilent("The link to the pod went silent, so ktpy gave it up.")
    text = exc.reason if isinstance(exc, asyncssh.DisconnectError) else str(exc)
    return LinkLost(f"The link to the pod was lost: {text.rstrip('.') or type(exc).__name__}.")
