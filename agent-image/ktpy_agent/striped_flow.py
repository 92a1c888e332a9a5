"""A striped flow is one connection of the laptop's over several ways, see `ktpy.wire.stripes`."""

import errno
import fcntl
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from ktpy.wire.stripes import BARE_FRAME_BYTES, FRAME_BYTES, Incoming, Outgoing, answer
from ktpy_agent.flow import as_told, connect, reset_on_close, send_pieces
from ktpy_agent.pipe import Pipe
from ktpy_agent.poller import READ, READ_BYTES, WRITE, Poller

SPLICED_BYTES: Final = 1 << 15
"""Where less than this is to come of a frame, reading it costs no more."""
ABANDONED_MS: Final = 60_000
"""A target that has taken nothing for so long, and whose laptop has closed or is lost, is reset."""

_HUNG_UP: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_SIOCOUTQ: Final = 0x5411
"""include/uapi/linux/sockios.h, of amd64 and arm64"""
_COUNT: Final = struct.Struct("i")


class _Stripe:
    __slots__ = ("channel", "events", "has_hung_up", "is_bare", "is_retired", "rest")

    def __init__(self, channel: socket.socket) -> None:
        self.channel, self.is_bare = channel, channel.family != socket.AF_UNIX
        self.events = -1
        """The flow is called back for these; nobody has said so yet."""
        self.rest = b""
        """What the channel has yet to take of a frame."""
        self.has_hung_up = self.is_retired = False

    @property
    def waiting_bytes(self) -> int:
        """So much the channel's far end has yet to read; 0 where the kernel does not tell."""
        try:
            count: int = _COUNT.unpack(fcntl.ioctl(self.channel.fileno(), _SIOCOUTQ, bytes(_COUNT.size)))[0]
        except OSError:
            return 0
        return count


class StripedFlow:
    """A StripedFlow reads from one side only what the other takes."""

    def __init__(
        self,
        poller: Poller,
        channel: socket.socket,
        reuse: Callable[[socket.socket, bytes], None],
        forget: Callable[[], object],
        pipe: Pipe,
    ) -> None:
        """`channel` is the laptop's first one, which `reuse` gets once it has carried the flow to its end, with what
        has come after that."""
        self._poller, self._reuse, self._forget, self._pipe = poller, reuse, forget, pipe
        self._incoming, self._outgoing = Incoming(), Outgoing()
        self._first = _Stripe(channel)
        self._stripes = [self._first]
        """Further ones after it, that which was sent to longest ago first: sshd reads at once what its window takes."""
        self._incoming.add(self._first)
        self._target: socket.socket | None = None
        self._target_events = 0
        self._to_target: deque[bytes | memoryview] = deque()
        self._is_connecting = self._has_ended = self._is_shut = self._is_over = False

    def dial(self, address: bytes, port: int) -> None:
        """Connect to the target; the laptop is told how that went."""
        self._target, error = connect(address, port)
        self._is_connecting = error == errno.EALREADY
        if not self._is_connecting:
            self._answer(error)
        self._watch()

    def join(self, channel: socket.socket) -> None:
        """Send over this channel, too, from now on."""
        stripe = _Stripe(channel)
        self._stripes.append(stripe)
        self._incoming.add(stripe)
        self._send(stripe, answer(0))
        self._watch()

    def reset(self) -> None:
        """Reset the target. To the laptop, the channels' ends before the stream's say so."""
        reset_on_close(self._target)
        self._close()

    def _answer(self, error: int) -> None:
        self._send(self._first, answer(as_told(error)))
        if error:
            self._has_ended = self._is_shut = True
            self._finish()

    # --- the end

    def _close(self) -> None:
        for stripe in self._stripes:
            self._close_channel(stripe.channel)
        self._let_go()

    def _close_channel(self, channel: socket.socket) -> None:
        self._poller.forget(channel)
        channel.close()

    def _finish(self) -> None:
        """Once both streams have ended, and everything is sent, the first channel may carry another flow."""
        if self._has_ended and self._is_shut and not self._is_over and not any(stripe.rest for stripe in self._stripes):
            further = self._stripes[1:]
            self._let_go()
            for stripe in further:
                self._linger(stripe.channel)
            self._reuse(self._first.channel, self._incoming.take_rest(self._first))

    def _linger(self, channel: socket.socket) -> None:
        """Close once the laptop has: a reset, as of what nobody has read, would take along what is under way to it."""

        def drop(_events: int) -> None:
            try:
                data = channel.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close_channel(channel)

        with suppress(OSError):
            channel.shutdown(socket.SHUT_WR)
        self._poller.want(channel, READ, drop)

    def _let_go(self) -> None:
        self._is_over = True
        self._stripes.clear()
        target, self._target = self._target, None
        if target is not None:
            self._poller.forget(target)
            target.close()
        self._forget()

    # --- from the target to the laptop

    def _on_target(self, events: int) -> None:
        target = self._target
        assert target is not None  # noqa: S101 - it is forgotten before it is closed
        if self._is_connecting:
            self._is_connecting = False
            self._answer(target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if events & WRITE:
            self._flush_target()
        if events & ~WRITE and not self._is_over:
            self._read_target(target)
        self._watch()

    def _free(self) -> list[_Stripe]:
        """Return the stripes that may be sent to now: the further ones, if there are any."""
        further = [stripe for stripe in self._stripes[1:] if not stripe.is_retired]
        return [stripe for stripe in further or [self._first] if not stripe.rest]

    def _read_target(self, target: socket.socket) -> None:
        free = self._free()
        if not free or self._has_ended:
            return  # a hang-up, which writing tells
        stripe = free[0] if len(free) == 1 else min(free, key=lambda stripe: stripe.waiting_bytes)
        try:
            if stripe.is_bare and self._splice(target, stripe):
                return
            data = target.recv(FRAME_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.reset()
            return
        if data:
            self._send(stripe, self._outgoing.header(len(data)), data)
        else:
            self._has_ended = True
            self._send_last(self._first, self._outgoing.end())
            self._finish()

    def _splice(self, target: socket.socket, stripe: _Stripe) -> bool:
        """Have the kernel move a frame; return whether there was one."""
        count = self._pipe.fill(target, BARE_FRAME_BYTES)
        if not count:
            return False
        rest = self._outgoing.header(count)
        with suppress(OSError):  # it takes no more, or is lost, which reading tells
            rest = rest[stripe.channel.send(rest, socket.MSG_MORE) :]
        stripe.rest = rest + self._pipe.drain(None if rest else stripe.channel, count)
        self._turn(stripe)
        return True

    def _turn(self, stripe: _Stripe) -> None:
        """Let the others be sent to before this one."""
        if stripe in self._stripes[1:]:
            self._stripes.remove(stripe)
            self._stripes.append(stripe)

    def _send(self, stripe: _Stripe, *pieces: bytes) -> None:
        """Send to a stripe that has no rest."""
        self._turn(stripe)
        try:
            count = stripe.channel.sendmsg(pieces)
        except BlockingIOError:
            count = 0
        except OSError:
            self.reset()
            return
        if count < sum(map(len, pieces)):
            stripe.rest = b"".join(pieces)[count:]

    def _send_last(self, stripe: _Stripe, frame: bytes) -> None:
        """Send a frame behind what the stripe has yet to take."""
        if stripe.rest:
            stripe.rest += frame
        else:
            self._send(stripe, frame)

    # --- from the laptop to the target

    def _on_stripe(self, stripe: _Stripe, events: int) -> None:
        if events & WRITE and (rest := stripe.rest):
            stripe.rest = b""
            self._send(stripe, rest)
            self._finish()
        if events & ~WRITE and not self._is_over:
            if stripe.events & READ:
                self._read_stripe(stripe)
            elif events & _HUNG_UP and not stripe.has_hung_up and self._target is not None:
                stripe.has_hung_up = True
                with suppress(OSError):  # it has ended
                    self._target.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ABANDONED_MS)
        self._watch()

    def _read_stripe(self, stripe: _Stripe) -> None:
        count, data = 0, b""
        try:
            count = self._splice_to_target(stripe)
            if not count:
                data = stripe.channel.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            pass
        if not (count or data):
            self._lose(stripe)
            return
        try:
            arrived = self._incoming.feed(stripe, data)
        except ValueError:  # no laptop of ours says so
            self.reset()
            return
        if arrived:
            self._to_target.append(arrived)
        self._retire()
        self._flush_target()

    def _splice_to_target(self, stripe: _Stripe) -> int:
        """Have the kernel move what comes of a long frame; return how much."""
        expected = self._incoming.expected(stripe)
        if expected < SPLICED_BYTES or self._is_connecting:
            return 0
        count = self._pipe.fill(stripe.channel, expected)
        self._incoming.take(count)
        if count and (rest := self._pipe.drain(self._target, count)):
            self._to_target.append(rest)
        return count

    def _retire(self) -> None:
        """Send no more on stripes on which the laptop does not, and say so."""
        for stripe in self._stripes[1:]:
            if stripe in self._incoming.retired and not stripe.is_retired:
                stripe.is_retired = True
                self._send_last(stripe, self._outgoing.retire())

    def _lose(self, stripe: _Stripe) -> None:
        """End with a stripe that has ended, unless it was retired. All end where the laptop wants to read no more."""
        if stripe.is_retired:
            self._stripes.remove(stripe)
            self._incoming.drop(stripe)
            self._close_channel(stripe.channel)
        elif stripe is self._first and self._incoming.has_ended:
            self._close()
        else:
            self.reset()

    def _flush_target(self) -> None:
        if self._target is not None and not self._is_connecting:
            try:
                send_pieces(self._target, self._to_target)
            except OSError:
                self.reset()
                return
        if not self._to_target:
            self._deliver_end()

    def _deliver_end(self) -> None:
        """Once all is delivered, end the stream at the target."""
        if self._target is None or self._is_connecting or self._is_shut or not self._incoming.has_ended:
            return
        self._is_shut = True
        with suppress(OSError):  # it is reset, which reading tells
            self._target.shutdown(socket.SHUT_WR)
        self._finish()

    def _watch(self) -> None:
        """Watch the sockets for what can be done with them now."""
        if self._is_over:
            return
        target = self._target
        if target is not None:
            can_read = not (self._has_ended or self._is_connecting) and bool(self._free())
            events = WRITE * (self._is_connecting or bool(self._to_target)) | READ * can_read
            if events != self._target_events:
                self._target_events = events
                self._poller.want(target, events, self._on_target)
        for stripe in self._stripes:
            is_held = bool(self._to_target) or self._incoming.is_ahead(stripe)
            events = WRITE * bool(stripe.rest)
            events |= (0 if stripe.has_hung_up else select.EPOLLRDHUP) if is_held else READ
            if events != stripe.events:
                stripe.events = events
                self._poller.want(stripe.channel, events, partial(self._on_stripe, stripe))
