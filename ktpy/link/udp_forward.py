"""A forward of a UDP port: clients of the Service come as numbered flows, and each has a local socket of its own."""

import asyncio
import logging
import socket
from typing import Final, Protocol, cast, runtime_checkable

from ktpy.link.channel import Channel
from ktpy.link.datagrams import QUEUE_BYTES
from ktpy.wire.datagram import DATAGRAM, FORGET, NOWHERE, Frame, FrameParser, beat

logger = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES: Final = 1 << 20


@runtime_checkable
class UdpPort(Protocol):
    """A UdpPort is a UDP port of this laptop, which may be up or down.

    `open_socket` returns a socket that is connected to it and does not block, or raises OSError; `refuse` hears of an
    ICMP error "port unreachable".
    """

    def open_socket(self) -> socket.socket: ...
    def refuse(self) -> None: ...
    async def wait_up(self) -> None: ...
    async def wait_down(self) -> None: ...


class UdpForward(asyncio.Protocol):
    """A UdpForward is the laptop's end of the stream of frames that a gateway's agent opens for a port.

    An answer goes back in a frame with its flow's number. A datagram that cannot be sent is dropped.
    """

    def __init__(self, local_port: UdpPort) -> None:
        self._local_port = local_port
        self._reader = FrameParser()
        self._flows: dict[int, _Flow] = {}
        self._channel: Channel | None = None
        self._is_paused = False
        self._waiting_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._channel = cast(Channel, transport)
        self._channel.write(beat())  # sshd's end of it stands before the laptop knows: this says that it does

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            if frame.kind == DATAGRAM:
                self._send(frame)
            elif frame.kind == FORGET and (flow := self._flows.pop(frame.flow, None)) is not None:
                flow.close()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused, self._waiting_bytes = False, 0

    def connection_lost(self, _exc: Exception | None) -> None:
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()

    def close(self) -> None:
        """End the stream, so that the agent turns to the original pods."""
        if self._channel is not None:
            self._channel.abort()

    def _send(self, frame: Frame) -> None:
        try:
            flow = self._flows.get(frame.flow)
            if flow is None:
                flow = self._flows[frame.flow] = _Flow(frame.flow, self)
            flow.socket.send(frame.payload)
        except ConnectionRefusedError:
            self.refused()
        except OSError as exc:  # its buffer is full, it is too large, or there is no descriptor left
            logger.info("a datagram for the local port was dropped: %s", exc)

    def open_socket(self) -> socket.socket:
        return self._local_port.open_socket()

    def refused(self) -> None:
        self._local_port.refuse()

    def answer(self, flow: int, payload: bytes) -> None:
        """Pass on what the local program sent, unless too much waits for the tunnel."""
        frame = Frame(DATAGRAM, flow, 0, NOWHERE, payload).encoded()
        self._waiting_bytes += len(frame) if self._is_paused else 0
        if self._channel is not None and self._waiting_bytes <= QUEUE_BYTES:
            self._channel.write(frame)


class _Flow(asyncio.DatagramProtocol):
    """A _Flow is one client of the Service."""

    def __init__(self, number: int, forward: UdpForward) -> None:
        """Raises OSError where there is no socket to be had."""
        self._number, self._forward = number, forward
        self.socket = forward.open_socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._transport: asyncio.DatagramTransport | None = None
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(self._listen(), name="hear the local port")

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, sock=self.socket)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, _address: object) -> None:
        self._forward.answer(self._number, data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, ConnectionRefusedError):
            self._forward.refused()

    def close(self) -> None:
        self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()
        else:
            self.socket.close()
