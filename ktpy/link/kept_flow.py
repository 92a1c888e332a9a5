"""A connection from inside the pod that outlives the link: the laptop's half. `Keeper` makes them."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from ktpy.link.channel import CLOSE_TIMEOUT_S, Channel
from ktpy.wire.flows import ANSWER, CLOSE, DONE, END, FLOW, GONE, RECEIVED, RESUME, Note, Opening
from ktpy.wire.ledger import Budget, Incoming, Outgoing

_CHANNEL, _ROOM, _WORD = 1, 2, 4  # what a writer waits for: the word is the agent's, that something has arrived


class Way(Protocol):
    """A Way leads to the agent's relay while there is a link."""

    token: bytes

    def tell(self, note: Note) -> None:
        """Send a note; without a link it is lost."""

    def has_received(self, flow: "KeptFlow") -> None:
        """Note that there is something to acknowledge."""

    def open_channel(self, flow: "KeptFlow") -> None:
        """Open a channel, whose protocol the flow is."""

    def spare(self, channel: Channel) -> None:
        """Use a channel again, which has carried a flow to its end."""

    def outran(self) -> None:
        """Note that a flow has given up the promise."""

    def forget(self, flow: "KeptFlow") -> None: ...


class KeptFlow(asyncio.Transport, asyncio.Protocol):
    """A KeptFlow is the protocol of one channel after the other, and a transport that notices only pauses."""

    def __init__(
        self,
        way: Way,
        number: int,
        budget: Budget,
        protocol_factory: Callable[[], asyncio.Protocol],
        peername: tuple[str, int],
    ) -> None:
        super().__init__()
        self.number = number
        self.outgoing, self.incoming = Outgoing(budget), Incoming()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises the error that connect(2) had in the pod."""
        self._way = way
        self._protocol_factory: Callable[[], asyncio.Protocol] | None = protocol_factory
        self._protocol: asyncio.Protocol | None = None
        self._peername = peername
        self._channel: Channel | None = None
        self._agent_has = 0
        """How far the agent got, when the next channel opens."""
        self._waits_for = _CHANNEL
        self._is_reading = True
        self._has_ended = self._is_closing = self._is_over = self._has_told_end = False
        self._verdict: OSError | None = None
        """Why the agent has given it up. What it sent before is still delivered."""
        self._close_timer: asyncio.TimerHandle | None = None

    # --- the agent's side

    def take(self, note: Note) -> None:
        """Do what a note says; raises ValueError where it cannot be true."""
        if note.kind == RECEIVED:
            if self.outgoing.acknowledge(note.value):
                self._way.outran()
            self._resume(_WORD)
        elif note.kind == ANSWER:
            self._take_answer(note.value)
        elif note.kind == END:
            self.incoming.end_at(note.value)
            self._tell_end()
        elif note.kind == GONE:
            self._take_verdict(note.value)
        elif note.kind == DONE and self._is_closing:
            channel = self._channel
            if channel is not None and self.incoming.is_complete:
                self._channel = None
                self._way.spare(channel)
            self.finish(None)

    def _take_answer(self, error: int) -> None:
        if not error:
            self._begin()
            return
        if not self.answered.done():
            self.answered.set_exception(OSError(error, os.strerror(error)))
        self.finish(None)

    def _begin(self) -> None:
        """There is a connection: what is sent over its channel may come before the answer."""
        factory, self._protocol_factory = self._protocol_factory, None
        if factory is None or self._is_over:
            return
        self._protocol = protocol = factory()
        protocol.connection_made(self)
        if self._waits_for:
            protocol.pause_writing()
        if not self.answered.done():
            self.answered.set_result(None)

    def _take_verdict(self, error: int) -> None:
        if self._is_closing:
            self.finish(None)
            return
        self._verdict = OSError(error, os.strerror(error))
        if self._channel is None:
            self.finish(self._verdict)

    def resume(self, received: int) -> bool:
        """Go on over a new link, as the agent has received so much; return False where that cannot be."""
        if self.outgoing.resume(received) is None:
            return False
        self._agent_has = received
        self._way.open_channel(self)
        return True

    def restated(self) -> list[Note]:
        """What the agent has to know of it when there is another link."""
        notes = [Note(RESUME, self.number, self.incoming.received)]
        if self._is_closing or self._has_ended:
            notes.append(Note(CLOSE if self._is_closing else END, self.number, self.outgoing.sent))
        return notes

    # --- the channel's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.attach(cast(Channel, transport), Opening(FLOW, self._way.token, self.number))

    def attach(self, channel: Channel, opening: Opening) -> None:
        """Go on over this channel."""
        again = None if self._is_over else self.outgoing.resume(self._agent_has)
        if again is None:
            channel.abort()
            self.fail("too much was written before its channel was open")
            return
        self._channel = channel
        channel.write(opening.encoded())
        for piece in again:
            channel.write(piece)
        if not self._is_reading:
            channel.pause_reading()
        self._resume(_CHANNEL)

    def data_received(self, data: bytes) -> None:
        if self._protocol is None:
            self._begin()
            if self._protocol is None:
                return
        self.incoming.received += len(data)
        self._way.has_received(self)
        if not self._is_closing:
            self._protocol.data_received(data)
        if self.incoming.end is not None:
            self._tell_end()

    def eof_received(self) -> bool:
        """The agent has closed the channel, and has said why elsewhere."""
        self._end_channel()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._channel is None:
            return
        if exc is None:
            self._end_channel()
            return
        self._channel = None
        if self._verdict is not None:
            self.finish(self._verdict)
        else:
            self._wait(_CHANNEL)
            self._resume(_ROOM)  # there was none in the channel that is gone

    def _end_channel(self) -> None:
        self._channel = None
        if self._is_closing:
            self.finish(None)
        elif not self._is_over:
            self.finish(self._verdict or ConnectionResetError(errno.ECONNRESET, "the agent closed the connection"))

    def pause_writing(self) -> None:
        self._wait(_ROOM)

    def resume_writing(self) -> None:
        self._resume(_ROOM)

    # --- the protocol's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._has_ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._is_closing or self._is_over or not data:
            return
        piece = bytes(data)
        self.outgoing.take(piece)
        if self._channel is not None:
            self._channel.write(piece)
        if self.outgoing.is_full:
            self._wait(_WORD)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not (self._has_ended or self._is_closing or self._is_over):
            self._has_ended = True
            self._way.tell(Note(END, self.number, self.outgoing.sent))

    def close(self) -> None:
        """Deliver what was written, over another link if need be, then close."""
        if self._is_closing or self._is_over:
            return
        self._is_closing = True
        self._way.tell(Note(CLOSE, self.number, self.outgoing.sent))
        self._arm_close()
        if self._channel is not None:
            self._channel.resume_reading()  # what comes is dropped, and the end is behind it

    def _arm_close(self) -> None:
        self._close_timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._end_close)

    def _end_close(self) -> None:
        """A far side that neither reads nor ends is not waited for; a link is, as long as flows are kept."""
        if self._channel is None:
            self._arm_close()
        else:
            self.abort()

    def abort(self) -> None:
        if not self._is_over:
            self._way.tell(Note(GONE, self.number))
            self._let_go()
            asyncio.get_running_loop().call_soon(self._lose_protocol, None)

    def fail(self, why: str) -> None:
        """Reset both ends."""
        if not self._is_over:
            self._way.tell(Note(GONE, self.number))
            self.finish(ConnectionAbortedError(errno.ECONNABORTED, why))

    def is_closing(self) -> bool:
        return self._is_closing or self._is_over

    def pause_reading(self) -> None:
        if self._is_reading and not self.is_closing():
            self._is_reading = False
            if self._channel is not None:
                self._channel.pause_reading()

    def resume_reading(self) -> None:
        if not self._is_reading and not self.is_closing():
            self._is_reading = True
            if self._channel is not None:
                self._channel.resume_reading()

    def is_reading(self) -> bool:
        return self._is_reading and not self.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername` is the address in the cluster. There is no socket."""
        return self._peername if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return self._channel.get_write_buffer_size() if self._channel else 0

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._protocol)

    # --- between the two

    def _tell_end(self) -> None:
        """Tell the protocol of the end once everything before it has come."""
        if self._has_told_end or self._is_closing or self._protocol is None or not self.incoming.is_complete:
            return
        self._has_told_end = True
        if not self._protocol.eof_received():
            self.close()

    def _wait(self, what: int) -> None:
        paused, self._waits_for = self._waits_for, self._waits_for | what
        if not paused and self._protocol:
            self._protocol.pause_writing()

    def _resume(self, what: int) -> None:
        paused, self._waits_for = self._waits_for, self._waits_for & ~what
        if paused and not self._waits_for and self._protocol:
            self._protocol.resume_writing()

    def finish(self, exc: Exception | None) -> None:
        """End here; the agent knows, or never will."""
        self._let_go()
        self._lose_protocol(exc)

    def _let_go(self) -> None:
        self._is_over, self._protocol_factory = True, None
        if self._close_timer:
            self._close_timer.cancel()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abort()
        self.outgoing.release()
        self._way.forget(self)

    def _lose_protocol(self, exc: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)
        if not self.answered.done():
            self.answered.set_exception(exc or ConnectionAbortedError(errno.ECONNABORTED, "given up"))
            self.answered.exception()  # whoever dialled may be gone
