"""A connection from inside the pod over several channels, see `ktpy.wire.stripes`: the laptop's half."""

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, Final, cast

from ktpy.link.channel import Channel
from ktpy.wire.datagram import mapped
from ktpy.wire.flows import STRIPE, STRIPED, TOKEN_BYTES, Opening
from ktpy.wire.stripes import ANSWER_BYTES, FRAME_BYTES, WIDE_AFTER_BYTES, Incoming, Outgoing, parse_answer

IDLE_AFTER_S: Final = 1.0


class Unanswered(Exception):
    """The channel ended before the agent had answered: nothing has come of the connection."""


class StripedFlow(asyncio.Transport):
    """A StripedFlow is a transport that begins on one channel, and asks for more once it carries bulk."""

    def __init__(
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        peername: tuple[str, int],
        on_bulk: Callable[["StripedFlow"], bool],
        reuse: Callable[[Channel], None],
    ) -> None:
        """`on_bulk` may have others `join`, and returns whether it has; else it is asked again.

        `reuse` gets the channel of a flow that has ended.
        """
        super().__init__()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises the error that connect(2) had in the pod, or Unanswered."""
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._protocol_factory = protocol_factory
        self._protocol: asyncio.Protocol | None = None
        self._peername = peername
        self._on_bulk: Callable[[StripedFlow], bool] | None = on_bulk
        self._reuse = reuse
        self._stripes: list[_Stripe] = []
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
        self._add(channel, Opening(STRIPED, self._token, 0, port, mapped(ip_address(host).packed)))

    def join(self, channel: Channel) -> bool:
        """Go over this channel as well; return False where the flow is over by now."""
        if self._is_closing or not self._stripes:
            return False
        self._add(channel, Opening(STRIPE, self._token, 0))
        self._read_or_not()
        return True

    def _add(self, channel: Channel, opening: Opening) -> None:
        stripe = _Stripe(self, channel)
        self._incoming.add(stripe)
        self._stripes.append(stripe)
        channel.set_protocol(stripe)
        channel.write(opening.encoded())
        self.write_or_not()

    def take(self, stripe: "_Stripe", data: bytes) -> None:
        """Take what has come on a stripe."""
        if self._is_closing:
            return  # what comes is dropped, and the end is behind it
        if not self.answered.done():
            wanted = ANSWER_BYTES - len(self._answer)
            self._answer += data[:wanted]
            data = data[wanted:]
            if len(self._answer) < ANSWER_BYTES or not self._begin(parse_answer(self._answer)):
                return
        try:
            arrived = self._incoming.feed(stripe, data)
        except ValueError as exc:
            self._fail(ConnectionResetError(errno.ECONNRESET, f"the agent does not keep to the protocol: {exc}"))
            return
        if arrived and self._protocol:
            self._protocol.data_received(arrived)
            self._count(1, len(arrived))
        if len(self._stripes) > 1:
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
            self._reuse(stripe.channel)
            return False
        self._protocol = self._protocol_factory()
        self._protocol.connection_made(self)
        if self._is_full:
            self._protocol.pause_writing()
        self.answered.set_result(None)
        return True

    def lose(self, stripe: "_Stripe", exc: Exception | None) -> None:
        """Go on without a stripe that has ended, if that can be."""
        if stripe not in self._stripes:
            return
        self._stripes.remove(stripe)
        if self._is_closing:
            if not self._stripes:
                self._lose_protocol(None)
        elif not self.answered.done():
            self.answered.set_exception(Unanswered())
        elif exc is not None:
            self._fail(exc)
        elif not self._stripes or not self._incoming.drop(stripe):
            self._fail(ConnectionResetError(errno.ECONNRESET, "the agent closed the connection"))
        else:
            self.write_or_not()

    def write_or_not(self) -> None:
        """Have the protocol write while a stripe has room."""
        was_full, self._is_full = self._is_full, all(stripe.is_full for stripe in self._stripes)
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
        if self._on_bulk is None:
            return
        self._bulk_bytes[way] += count
        if self._bulk_bytes[way] >= WIDE_AFTER_BYTES and not self._is_closing:
            self._bulk_bytes[way] = 0
            if self._on_bulk(self):
                self._on_bulk = None

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
        view = memoryview(data)
        for start in range(0, len(view), FRAME_BYTES):
            piece = view[start : start + FRAME_BYTES]
            self._roomiest().channel.writelines((self._outgoing.header(len(piece)), piece))
        self._count(0, len(view))

    def _roomiest(self) -> "_Stripe":
        stripes = self._stripes
        if len(stripes) > 1:
            stripes = [stripe for stripe in stripes if not stripe.is_full] or stripes
        return max(stripes, key=lambda stripe: stripe.channel.room_bytes) if len(stripes) > 1 else stripes[0]

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
        if self._incoming.has_ended:
            self._stripes.clear()
            channel = stripes.pop(0).channel
            channel.resume_reading()
            self._reuse(channel)
            asyncio.get_running_loop().call_soon(self._lose_protocol, None)
        for stripe in stripes:
            stripe.channel.resume_reading()
            stripe.channel.close()

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
        for stripe in stripes:
            stripe.channel.abort()

    def _lose_protocol(self, exc: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)


class _Stripe(asyncio.Protocol):
    """A _Stripe is what a channel of a flow calls."""

    __slots__ = ("_flow", "channel", "is_full")

    def __init__(self, flow: StripedFlow, channel: Channel) -> None:
        self.channel, self._flow = channel, flow
        self.is_full = False

    def data_received(self, data: bytes) -> None:
        self._flow.take(self, data)

    def eof_received(self) -> bool:
        self._flow.lose(self, None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._flow.lose(self, exc)

    def pause_writing(self) -> None:
        self.is_full = True
        self._flow.write_or_not()

    def resume_writing(self) -> None:
        self.is_full = False
        self._flow.write_or_not()
