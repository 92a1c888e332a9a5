"""A flow is one connection of the laptop's that outlives its link: a socket in the pod's network, and a channel."""

import errno
import socket
import struct
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ktpy.wire.datagram import unmapped
from ktpy.wire.flows import ANSWER, CLOSE, DONE, END, GONE, RESUME, Note
from ktpy.wire.ledger import Incoming, Outgoing
from ktpy_agent.poller import READ, READ_BYTES, WRITE

if TYPE_CHECKING:
    from ktpy_agent.flow_session import FlowSession

BULK_BYTES: Final = 1 << 15
"""After so much in one go there is more, as a rule, which the kernel moves for less."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""This struct linger (on, 0 s) makes the kernel send a reset instead of a FIN (socket(7))."""
_UNKNOWN: Final = -1
"""Nobody has said for which events of a new channel this flow is called back."""
_NO_WAY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""The pod has no address of the family."""


def connect(address: bytes, port: int) -> tuple[socket.socket | None, int]:
    """Begin to connect a socket; return it and an errno: 0 for success, EALREADY where the target has yet to answer."""
    packed = unmapped(address)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    target = None
    try:
        target = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        place = (socket.inet_ntop(family, packed), port)
        error = target.connect_ex(place)
        if error == errno.EINPROGRESS:
            error = target.connect_ex(place)  # a target on this node has answered already: that saves a turn
    except OSError as exc:
        error = exc.errno or errno.EIO
    return target, 0 if error == errno.EISCONN else error  # that is what POSIX says, and Linux does not


def as_told(error: int) -> int:
    """Return the errno of connect(2) that the laptop is told."""
    return errno.ENETUNREACH if error in _NO_WAY else error


def reset_on_close(target: socket.socket | None) -> None:
    """Have the kernel send a reset when the socket is closed."""
    if target is not None:
        with suppress(OSError):
            target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def send_pieces(sink: socket.socket, pieces: deque[bytes | memoryview]) -> None:
    """Send what the socket takes of the pieces, which the rest stays in. Raises OSError."""
    while pieces:
        try:
            count = sink.send(pieces[0])
        except BlockingIOError:
            return
        if count < len(pieces[0]):
            pieces[0] = memoryview(pieces[0])[count:]
            return
        pieces.popleft()


class Flow:
    """A Flow reads from one side only what the other takes. While it has no channel its target waits."""

    __slots__ = (
        "_again",
        "_channel",
        "_channel_events",
        "_has_ended",
        "_is_bulk",
        "_is_closing",
        "_is_connecting",
        "_is_shut",
        "_target",
        "_target_events",
        "_to_channel",
        "_to_target",
        "incoming",
        "number",
        "outgoing",
        "session",
    )

    def __init__(self, session: "FlowSession", number: int) -> None:
        self.number = number
        self.incoming, self.outgoing = Incoming(), Outgoing(session.budget)
        self.session = session
        self._target: socket.socket | None = None
        self._channel: socket.socket | None = None
        self._target_events, self._channel_events = 0, _UNKNOWN
        self._is_bulk = self._is_connecting = self._has_ended = self._is_shut = self._is_closing = False
        self._to_channel: deque[bytes | memoryview] = deque()
        self._to_target: deque[bytes | memoryview] = deque()
        self._again: list[bytes] = []
        """What the next channel begins with."""

    @property
    def is_over(self) -> bool:
        return self.session.flows.get(self.number) is not self

    def dial(self, address: bytes, port: int) -> None:
        """Connect to the target; the laptop is told how that went."""
        self._target, error = connect(address, port)
        self._is_connecting = error == errno.EALREADY
        if not self._is_connecting:
            self._answer(error)
        self._watch()

    def _answer(self, error: int) -> None:
        self.session.tell(Note(ANSWER, self.number, as_told(error)))
        if error:
            self.drop()

    # --- the link comes and goes

    def attach(self, channel: socket.socket) -> None:
        """Go on over this channel."""
        self.detach()
        self._channel, self._channel_events = channel, _UNKNOWN
        self._to_channel.extend(self._again)
        self._again = []
        self._flush_channel()

    def detach(self) -> None:
        """Close the channel, if there is one. What has not been read from it the laptop sends again."""
        self._to_channel.clear()
        channel, self._channel = self._channel, None
        if channel is not None:
            self.session.poller.forget(channel)
            channel.close()
        self._watch()

    def acknowledge(self, received: int) -> None:
        """Note what the laptop has. Raises ValueError where that cannot be."""
        self.outgoing.acknowledge(received)
        self._watch()

    def resume(self, received: int) -> None:
        """Go on after an outage, with a laptop that has received so much. Raises ValueError where that cannot be."""
        again = self.outgoing.resume(received)
        if again is None:
            self.fail(errno.ECONNRESET)
            return
        self._again = again
        self.session.tell(Note(RESUME, self.number, self.incoming.received))
        if self._has_ended:
            self.session.tell(Note(END, self.number, self.outgoing.sent))

    def end(self, note: Note) -> None:
        """Take the laptop's END or CLOSE. Raises ValueError where its stream cannot end there."""
        self.incoming.end_at(note.value)
        if note.kind == CLOSE:
            self._is_closing = True
            self._watch()
        self._deliver_end()

    # --- the end

    def fail(self, error: int) -> None:
        """Reset the target, and tell the laptop why."""
        self.session.tell(Note(GONE, self.number, error))
        self.reset()

    def reset(self) -> None:
        """Reset the target."""
        reset_on_close(self._target)
        self.drop()

    def drop(self) -> None:
        """Close the target and the channel."""
        target, self._target = self._target, None
        if target is not None:
            self.session.poller.forget(target)
            target.close()
        self.session.flush()  # why goes before the end of the channel, on which the laptop would take it for a reset
        self.detach()
        self.outgoing.release()
        self.session.forget(self)

    # --- from the target to the laptop

    def _on_target(self, events: int) -> None:
        target = self._target
        assert target is not None  # noqa: S101 - it is forgotten before it is closed
        if self._is_connecting:
            self._is_connecting = False
            self._answer(target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if events & WRITE:
            self._flush_target()
        if events & ~WRITE and self._target is not None:
            self._read_target(target)

    def _read_target(self, target: socket.socket) -> None:
        if self._to_channel or self._has_ended:
            return  # a hang-up; the socket is watched for writing
        try:
            if not self.outgoing.is_kept and (count := self._splice(target, self._channel, self._to_channel)):
                self.outgoing.take_unheld(count)
                self._flush_channel()
                return
            data = target.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            self.fail(exc.errno or errno.ECONNRESET)
            return
        if not data:
            self._end()
            self._watch()
            return
        self.outgoing.take(data)
        self._to_channel.append(data)
        self._flush_channel()

    def _flush_channel(self) -> None:
        if self._channel is not None:
            try:
                send_pieces(self._channel, self._to_channel)
            except OSError:
                self.detach()
                return
        self._watch()

    # --- from the laptop to the target

    def _on_channel(self, events: int) -> None:
        if events & WRITE:
            self._flush_channel()
        if events & ~WRITE and self._channel is not None:
            self._read_channel(self._channel)

    def _read_channel(self, channel: socket.socket) -> None:
        count, data = 0, b""
        try:
            if self._is_bulk and not self._to_target:  # else it is a hang-up, and what waits goes first
                count = self._splice(channel, self._target, self._to_target)
            if not count:
                data = channel.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            pass
        if not count:
            if not data:  # the link is lost, or the laptop has given up the flow: it says so elsewhere
                self.detach()
                return
            count = len(data)
            self._to_target.append(data)
        self._is_bulk = count >= BULK_BYTES and not self._is_connecting
        self.incoming.received += count
        self.session.has_received(self)
        self._flush_target()

    def _flush_target(self) -> None:
        if self._target is not None and not self._is_connecting:
            try:
                send_pieces(self._target, self._to_target)
            except OSError as exc:
                self.fail(exc.errno or errno.ECONNRESET)
                return
        self._watch()
        self._deliver_end()

    def _deliver_end(self) -> None:
        """Once all is delivered, end the stream at the target, or close it if the laptop has."""
        if self._target is None or self._to_target or not self.incoming.is_complete:
            return
        if self._is_closing:
            self._finish()
        elif not self._is_shut:
            self._is_shut = True
            with suppress(OSError):  # it is reset, which reading tells
                self._target.shutdown(socket.SHUT_WR)

    def _finish(self) -> None:
        """All is delivered, and what the target still says is not wanted: the channel may carry another flow."""
        channel = None
        if not self._to_channel:
            channel, self._channel = self._channel, None
        if channel is not None:
            self._end()
        if self._channel is None:
            self.session.tell(Note(GONE if channel is None else DONE, self.number))
        self.drop()
        if channel is not None:
            self.session.reuse(channel)

    def _end(self) -> None:
        """Nothing more comes from the target."""
        if not self._has_ended:
            self._has_ended = True
            self.session.tell(Note(END, self.number, self.outgoing.sent))

    def _splice(self, source: socket.socket, sink: socket.socket | None, rest: deque[bytes | memoryview]) -> int:
        """Let the kernel move bytes that are not held; what the sink does not take is put into `rest`.

        Return how many were moved; 0 where reading tells more. Raises the source's error.
        """
        pipe = self.session.pipe
        if (count := pipe.fill(source)) and (left := pipe.drain(sink, count)):
            rest.append(left)
        return count

    def _watch(self) -> None:
        """Watch the sockets for what can be done with them now."""
        target, channel, want = self._target, self._channel, self.session.poller.want
        if target is not None:
            events = WRITE * (self._is_connecting or bool(self._to_target))
            if channel is not None and not (
                self._is_connecting or self._to_channel or self._has_ended or self._is_closing or self.outgoing.is_full
            ):
                events |= READ
            if events != self._target_events:
                self._target_events = events
                want(target, events, self._on_target)
        if channel is not None:
            events = READ * (not self._to_target) | WRITE * bool(self._to_channel)
            if events != self._channel_events:
                self._channel_events = events
                want(channel, events, self._on_channel)
