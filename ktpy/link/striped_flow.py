"""A connection from inside the pod over several ways, see `ktpy.wire.stripes`: the laptop's half."""

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, cast

from ktpy.link.channel import CLOSE_TIMEOUT_S, Channel
from ktpy.wire.datagram import mapped
from ktpy.wire.flows import STRIPE, STRIPED, TOKEN_BYTES, Opening
from ktpy.wire.stripes import ANSWER_BYTES, WIDE_AFTER_BYTES, Incoming, Outgoing, parse_answer

if TYPE_CHECKING:
    from ktpy.link.bulk import BareChannel

IDLE_AFTER_S: Final = 1.0
RETIRE_AFTER_S: Final = 5.0
"""What has been idle so long goes over SSH again, which is kept alive on its way."""


class Unanswered(Exception):
    """The channel ended before the agent had answered: nothing has come of the connection."""


class StripedFlow(asyncio.Transport):
    """A StripedFlow is a transport that begins on an SSH channel, and asks for further ways while it carries bulk."""

    def __init__(
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        peername: tuple[str, int],
        on_bulk: Callable[["StripedFlow"], bool],
        reuse: Callable[[Channel], None],
    ) -> None:
        """`on_bulk` may have further channels join by a Joining, and returns whether so; else it is asked again.

        `reuse` gets the channel of a flow that has ended.
        """
        super().__init__()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises the error that connect(2) had in the pod, or Unanswered."""
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._protocol_factory = protocol_factory
        self._protocol: asyncio.Protocol | None = None
        self._peername = peername
        self._on_bulk = on_bulk
        self._reuse = reuse
        self._stripes: list[Stripe] = []
        """The flow ends with the first one."""
        self._further: list[Stripe] = []
        """These are sent on, in its place."""
        self._is_wide = False
        self._incoming, self._outgoing = Incoming(), Outgoing()
        self._answer = bytearray()
        self._bulk_bytes = [0, 0]
        """How much was sent and received, until that is bulk."""
        self._moved_s = 0.0
        """When something was sent or received last."""
        self._is_reading = True
        self._is_full = self._has_ended = self._has_told_end = self._is_closing = False

    # --- the agent's side

    def begin(self, channel: Channel) -> None:
        """Have the agent connect."""
        host, port = self._peername
        self._add(channel)
        channel.write(Opening(STRIPED, self._token, 0, port, mapped(ip_address(host).packed)).encoded())

    def stripe_opening(self) -> bytes:
        """Return what a further channel has to begin with."""
        return Opening(STRIPE, self._token, 0).encoded()

    def join(self, channel: "Channel | BareChannel") -> None:
        """Go over a channel that the agent takes for this flow's; where that is over by now, the agent closes it."""
        if self._is_closing or not self._stripes:
            stripe = Stripe(self, channel)
            channel.set_protocol(stripe)
            stripe.leave()
            return
        self._further.append(self._add(channel))
        self._read_or_not()
        self.write_or_not()
        if len(self._further) == 1:
            self._retire_later()

    def may_widen_again(self) -> None:
        """Ask for further channels again when there is more."""
        self._is_wide = bool(self._further)

    def _add(self, channel: "Channel | BareChannel") -> "Stripe":
        stripe = Stripe(self, channel)
        self._incoming.add(stripe)
        self._stripes.append(stripe)
        channel.set_protocol(stripe)
        return stripe

    def _retire_later(self) -> None:
        asyncio.get_running_loop().call_later(RETIRE_AFTER_S, self._retire)

    def _retire(self) -> None:
        """Send on the first channel again, unless something moves; the agent will, too."""
        if self._is_closing or not self._further:
            return
        if asyncio.get_running_loop().time() - self._moved_s < RETIRE_AFTER_S:
            self._retire_later()
            return
        for stripe in self._further:
            stripe.channel.write(self._outgoing.retire())
        self._further.clear()
        self._is_wide = False
        self.write_or_not()

    def take(self, stripe: "Stripe", *data: bytes | memoryview) -> None:
        """Take what has come on a stripe."""
        if self._is_closing:
            return  # what comes is dropped, and the end is behind it
        if not self.answered.done():
            joined = b"".join(data)
            wanted = ANSWER_BYTES - len(self._answer)
            self._answer += joined[:wanted]
            data = (joined[wanted:],)
            if len(self._answer) < ANSWER_BYTES or not self._begin(parse_answer(self._answer)):
                return
        try:
            arrived = self._incoming.feed(stripe, *data)
        except ValueError as exc:
            self._fail(ConnectionResetError(errno.ECONNRESET, f"the agent does not keep to the protocol: {exc}"))
            return
        if arrived and self._protocol:
            self._protocol.data_received(arrived)
            self._count(1, len(arrived))
        if len(self._stripes) > 1:
            self._let_retired_go()
            self._read_or_not()
        if self._incoming.has_ended and not (self._has_told_end or self._is_closing) and self._protocol:
            self._has_told_end = True
            if not self._protocol.eof_received():
                self.close()

    def _begin(self, error: int) -> bool:
        if error:
            self.answered.set_exception(OSError(error, os.strerror(error)))
            [stripe], self._stripes = self._stripes, []
            self._is_closing = True
            self._reuse(cast(Channel, stripe.channel))
            return False
        self._protocol = self._protocol_factory()
        self._protocol.connection_made(self)
        if self._is_full:
            self._protocol.pause_writing()
        self.answered.set_result(None)
        return True

    def _let_retired_go(self) -> None:
        """Close what neither side sends on any more."""
        for stripe in [stripe for stripe in self._stripes if stripe in self._incoming.retired]:
            self._stripes.remove(stripe)
            self._incoming.drop(stripe)
            stripe.channel.abort()

    def lose(self, stripe: "Stripe", exc: Exception | None) -> None:
        """End with a stripe that has ended, unless the agent is done with it: the ends come on the first one."""
        if stripe not in self._stripes:
            return
        is_first = stripe is self._stripes[0]
        self._stripes.remove(stripe)
        if self._is_closing:
            if not self._stripes:
                self._lose_protocol(None)
        elif not self.answered.done():
            self.answered.set_exception(Unanswered())
        elif is_first or not self._has_ended or not self._incoming.drop(stripe):
            self._fail(exc or ConnectionResetError(errno.ECONNRESET, "the agent closed the connection"))

    @property
    def _senders(self) -> "list[Stripe]":
        return self._further or self._stripes[:1]

    def write_or_not(self) -> None:
        """Have the protocol write while a stripe has room."""
        was_full, self._is_full = self._is_full, all(stripe.is_full for stripe in self._senders)
        if self._protocol and was_full != self._is_full and not self._is_closing:
            if self._is_full:
                self._protocol.pause_writing()
            else:
                self._protocol.resume_writing()

    def _read_or_not(self) -> None:
        """Read what the protocol wants to have, and not those stripes that are ahead of others."""
        for stripe in list(self._stripes):
            if self._is_reading and not self._incoming.is_ahead(stripe):
                stripe.channel.resume_reading()
            else:
                stripe.channel.pause_reading()

    def _count(self, way: int, count: int) -> None:
        self._moved_s = asyncio.get_running_loop().time()
        if self._is_wide:
            return
        self._bulk_bytes[way] += count
        if self._bulk_bytes[way] >= WIDE_AFTER_BYTES and not self._is_closing:
            self._bulk_bytes = [0, 0]
            self._is_wide = self._on_bulk(self)

    @property
    def is_over(self) -> bool:
        """Whether the agent may have forgotten it."""
        return self._is_closing or (self._has_ended and self._incoming.has_ended)

    @property
    def is_busy(self) -> bool:
        """Whether it carries something now."""
        return not self._is_closing and asyncio.get_running_loop().time() - self._moved_s < IDLE_AFTER_S

    # --- the protocol's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        if self._has_ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        view = rest = memoryview(data)
        while rest:
            channel = self._roomiest().channel
            piece, rest = rest[: channel.frame_bytes], rest[channel.frame_bytes :]
            channel.writelines((self._outgoing.header(len(piece)), piece))
        self._count(0, len(view))

    def _roomiest(self) -> "Stripe":
        senders = self._senders
        if len(senders) == 1:
            return senders[0]
        senders = [stripe for stripe in senders if not stripe.is_full] or senders
        return max(senders, key=lambda stripe: stripe.channel.room_bytes)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not (self._has_ended or self._is_closing):
            self._has_ended = True
            self._stripes[0].channel.write(self._outgoing.end())  # before what the channel may carry next

    def close(self) -> None:
        """Deliver what was written, then close; `connection_lost(None)` comes when the channels have ended."""
        if self._is_closing:
            return
        self.write_eof()
        self._is_closing = True
        stripes = list(self._stripes)
        stripes[0].channel.resume_reading()
        if self._incoming.has_ended:
            self._stripes.clear()
            self._reuse(cast(Channel, stripes.pop(0).channel))
            asyncio.get_running_loop().call_soon(self._lose_protocol, None)
        else:
            cast(Channel, stripes.pop(0).channel).close()
        for stripe in stripes:
            stripe.leave()

    def abort(self) -> None:
        self._let_go()
        asyncio.get_running_loop().call_soon(self._lose_protocol, None)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        if not self._is_closing and self._is_reading:
            self._is_reading = False
            self._read_or_not()

    def resume_reading(self) -> None:
        if not self._is_closing and not self._is_reading:
            self._is_reading = True
            self._read_or_not()

    def is_reading(self) -> bool:
        return self._is_reading and not self._is_closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername` is the address in the cluster. There is no socket."""
        return self._peername if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return sum(stripe.channel.get_write_buffer_size() for stripe in self._stripes)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._protocol)

    # --- the end

    def _fail(self, exc: Exception) -> None:
        self._let_go()
        self._lose_protocol(exc)

    def _let_go(self) -> None:
        self._is_closing = True
        stripes, self._stripes = self._stripes, []
        self._further.clear()
        for stripe in stripes:
            stripe.channel.abort()

    def _lose_protocol(self, exc: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)


class Stripe(asyncio.Protocol):
    """A Stripe is what a channel of a flow calls."""

    __slots__ = ("_flow", "_timer", "channel", "is_full")

    def __init__(self, flow: StripedFlow, channel: "Channel | BareChannel") -> None:
        self.channel, self._flow = channel, flow
        self.is_full = False
        self._timer: asyncio.TimerHandle | None = None

    def leave(self) -> None:
        """Let the agent close the channel, when it has all, and drop what comes until then.

        A port-forward has no half-close, and what is under way when this end closes it may be lost (kubernetes#111825).
        """
        self.channel.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self.channel.abort)

    def data_received(self, data: bytes) -> None:
        self._flow.take(self, data)

    def views_received(self, views: Iterable[bytes | memoryview]) -> None:
        """Take parts of a buffer that are written over afterwards."""
        self._flow.take(self, *views)

    def eof_received(self) -> bool:
        self._flow.lose(self, None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._flow.lose(self, exc)

    def pause_writing(self) -> None:
        self.is_full = True
        self._flow.write_or_not()

    def resume_writing(self) -> None:
        self.is_full = False
        self._flow.write_or_not()


class Joining(asyncio.Protocol):
    """A Joining asks the agent to take a channel for a flow's, and has it join the flow then."""

    def __init__(self, flow: StripedFlow, channel: "Channel | BareChannel") -> None:
        """`channel` has no protocol but this one."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises ConnectionResetError where the agent does not, and OSError where the channel is lost."""
        self._flow, self._channel = flow, channel
        self._answer = b""
        channel.set_protocol(self)
        channel.write(flow.stripe_opening())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if len(self._answer) < ANSWER_BYTES or self.done.done():
            return
        self.done.set_result(None)
        self._flow.join(self._channel)
        if rest := self._answer[ANSWER_BYTES:]:
            cast(asyncio.Protocol, self._channel.get_protocol()).data_received(rest)

    def views_received(self, views: Iterable[bytes | memoryview]) -> None:
        self.data_received(b"".join(views))

    def eof_received(self) -> bool:
        self.connection_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError(errno.ECONNRESET, "the agent does not take it"))
