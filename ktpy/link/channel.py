"""An SSH channel as an asyncio transport."""

import asyncio
import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ktpy.link.ssh_library import asyncssh
from ktpy.link.ssh_packets import room_bytes, write_data
from ktpy.wire.stripes import FRAME_BYTES, WIDE_AFTER_BYTES

CLOSE_TIMEOUT_S: Final = 60.0
"""How long a closed channel may take to deliver what was written before."""

_WINDOW, _LINK = 1, 2  # what a writer waits for

_FAILURES: Final = {
    # strerror of glibc and of musl, as sshd copies it into its answer
    "Connection refused": errno.ECONNREFUSED,
    "No route to host": errno.EHOSTUNREACH,
    "Host is unreachable": errno.EHOSTUNREACH,
    "Network is unreachable": errno.ENETUNREACH,
    "Network unreachable": errno.ENETUNREACH,
    "open failed": errno.ENETUNREACH,
    "Connection timed out": errno.ETIMEDOUT,
    "Operation timed out": errno.ETIMEDOUT,
}


def open_failure(exc: asyncssh.ChannelOpenError) -> OSError:
    """Return the error that `connect` raised in the pod, of the class that belongs to its errno.

    OpenSSH (9.2, 10.0) answers code 2, SSH_OPEN_CONNECT_FAILED (RFC 4254, 5.1), with strerror of the attempt: refused,
    no route to host (after 3 s), network unreachable, timed out (after two minutes); "open failed" where the pod's
    kernel has no route and makes no attempt. What PermitOpen or `restrict` forbids is code 1.
    """
    if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return OSError(errno.EACCES, f"forwarding is not permitted: {exc.reason}")
    return OSError(_FAILURES.get(exc.reason, errno.EIO), exc.reason)


@dataclass(slots=True)
class Carried:
    """A Carried counts what goes over an SSH connection and beside it."""

    sent_bytes: int = 0
    """Of payload, as received_bytes."""
    received_bytes: int = 0
    bulk_ways: int = 0
    """Port-forwards of their own that a flow's bulk went over."""
    bulk_refused: int = 0
    """Those that could not be opened."""

    def add(self, other: "Carried") -> None:
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        self.bulk_ways += other.bulk_ways
        self.bulk_refused += other.bulk_refused


@dataclass(slots=True)
class Link(Carried):
    """A Link is what the channels of one SSH connection share.

    asyncssh does not pass on that its connection is congested, and a channel by itself only stops at its window
    (2 MiB), so a channel that writes while the link is congested waits here.
    """

    congested: bool = False
    open_channels: int = 0
    waiting: set["Channel"] = field(default_factory=set)

    def congest(self) -> None:
        self.congested = True

    def clear(self) -> None:
        self.congested = False
        waiting, self.waiting = self.waiting, set()
        for channel in waiting:
            channel.resume(_LINK)


class Channel(asyncio.Transport, asyncssh.SSHTCPSession[bytes]):
    """A Channel is the session that asyncssh calls, and the transport that the protocol writes to.

    It differs from a socket's transport because SSH knows no reset: the far side's comes as an end of stream, and
    `abort` ends the far side's connection with what is in flight lost, by a reset only if it had unread data.
    """

    frame_bytes: Final = FRAME_BYTES

    def __init__(
        self,
        link: Link,
        protocol_factory: Callable[[], asyncio.Protocol],
        peername: tuple[str, int],
        on_bulk: Callable[[str, int], None] | None = None,
    ) -> None:
        """`on_bulk` is told the peer's name once, when WIDE_AFTER_BYTES have been carried."""
        super().__init__()
        self._link = link
        self._protocol_factory: Callable[[], asyncio.Protocol] | None = protocol_factory
        self._protocol: asyncio.Protocol | None = None
        self._channel: asyncssh.SSHTCPChannel[bytes] = cast("asyncssh.SSHTCPChannel[bytes]", None)  # until made
        self._peername = peername
        self._on_bulk = on_bulk
        self._moved_bytes = 0
        self._waits_for = 0
        self._reading = True
        self._closing = False
        self._eof_written = False
        self._close_timer: asyncio.TimerHandle | None = None

    def abandon(self) -> None:
        """Close the channel as soon as it opens, because nobody waits for it any more."""
        self._protocol_factory = None

    # --- asyncssh's side

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan
        self._link.open_channels += 1
        if self._protocol_factory is None:
            self._closing = True
            chan.abort()
            return
        self._protocol = self._protocol_factory()
        self._protocol_factory = None
        self._protocol.connection_made(self)

    def data_received(self, data: bytes, _datatype: int | None = None) -> None:
        """Hand the data on. An error of the protocol ends its channel, as a socket's transport does, and no other."""
        self._link.received_bytes += len(data)
        if self._on_bulk:
            self._count(len(data))
        if self._protocol:
            try:
                self._protocol.data_received(data)
            except Exception as exc:  # asyncssh would end the connection with all its channels
                self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        context = {"message": "The protocol of a channel failed.", "exception": exc, "protocol": self._protocol}
        asyncio.get_running_loop().call_exception_handler(context)
        self.abort()

    def eof_received(self) -> bool:
        """Close, as a socket's transport does, unless the protocol wants to go on writing."""
        if self._protocol and not self._protocol.eof_received():
            self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.open_channels -= 1
        if exc is not None and not isinstance(exc, OSError):
            error = ConnectionAbortedError(errno.ECONNABORTED, f"the tunnel is gone: {exc}")
            error.__cause__ = exc
            exc = error
        self._lose(exc)

    def pause_writing(self) -> None:
        self._wait(_WINDOW)

    def resume_writing(self) -> None:
        self.resume(_WINDOW)

    # --- the protocol's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        self._link.sent_bytes += len(data)
        if self._on_bulk:
            self._count(len(data))
        write_data(self._channel, bytes(data))
        if self._link.congested and not self._waits_for & _LINK:
            self._link.waiting.add(self)
            self._wait(_LINK)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._closing or self._eof_written:
            return
        self._eof_written = True
        self._channel.write_eof()

    def close(self) -> None:
        """Deliver what was written, then close; `connection_lost(None)` comes when the pod's side has closed too."""
        if self._closing:
            return
        self._closing = True
        # A far side that neither reads nor ends would keep a channel that nobody can see any more.
        self._close_timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self.abort)
        self._channel.close()

    def abort(self) -> None:
        self._closing = True
        if self._protocol:
            asyncio.get_running_loop().call_soon(self._lose, None)
        self._channel.abort()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if not self._closing and self._reading:
            self._reading = False
            self._channel.pause_reading()

    def resume_reading(self) -> None:
        if not self._closing and not self._reading:
            self._reading = True
            self._channel.resume_reading()

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername` is the address in the cluster. There is no socket."""
        return self._peername if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return self._channel.get_write_buffer_size()

    @property
    def room_bytes(self) -> int:
        """How much the pod's side has asked for beside what waits here."""
        return room_bytes(self._channel)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol have what comes from now on."""
        self._protocol = cast(asyncio.Protocol, protocol)
        if self._waits_for:
            self._protocol.pause_writing()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._protocol)

    # --- between the two

    def _count(self, count: int) -> None:
        self._moved_bytes += count
        if self._moved_bytes >= WIDE_AFTER_BYTES and self._on_bulk:
            self._on_bulk(*self._peername)
            self._on_bulk = None

    def _wait(self, what: int) -> None:
        paused, self._waits_for = self._waits_for, self._waits_for | what
        if not paused and self._protocol:
            self._protocol.pause_writing()

    def resume(self, what: int) -> None:
        """Let the protocol write again if `what` was the last thing that it waited for."""
        paused, self._waits_for = self._waits_for, self._waits_for & ~what
        if paused and not self._waits_for and self._protocol:
            self._protocol.resume_writing()

    def _lose(self, exc: Exception | None) -> None:
        self._closing = True
        self._link.waiting.discard(self)
        if self._close_timer:
            self._close_timer.cancel()
        protocol, self._protocol = self._protocol, None
        if protocol:
            protocol.connection_lost(exc)
