"""The framings by which the two streams of a port-forward, data and errors, share one WebSocket. Pure, no I/O.

There are two ways. `ChannelFraming`, here, is `v4.channel.k8s.io`, which every API server knows. `SpdyFraming`, in
`ktpy.kube.portforward.spdy`, is what kubectl speaks to API servers since Kubernetes 1.31: half the node's CPU for what
we send.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Protocol

from ktpy.kube.portforward.websocket import Payload

ERROR_TEXT_LIMIT_BYTES: Final = 16 << 10


class FramingError(ValueError):
    """The peer does not keep to the framing it agreed to."""


@dataclass(frozen=True, slots=True)
class ForwardReady:
    """Data may be sent from now on."""


class ForwardData(NamedTuple):
    """Bytes from the pod."""

    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class FramingReply:
    """The peer has to be sent this message back."""

    message: bytes


@dataclass(frozen=True, slots=True)
class ForwardEnded:
    """The forward is over; `why` is empty when the pod's side simply closed."""

    why: str


FramingEvent = ForwardReady | ForwardData | FramingReply | ForwardEnded


class Framing(Protocol):
    """A Framing is one of these ways. An object is good for one connection."""

    subprotocol: ClassVar[str]

    def opening(self) -> bytes:
        """Return the first message to send, if it is not empty. Data may follow once ForwardReady has come."""
        ...

    def feed(self, pieces: Iterable[Payload]) -> list[FramingEvent]:
        """Tell what pieces of messages mean. Raises FramingError.

        Nothing may be fed after that, nor after ForwardEnded.
        """
        ...

    def data_header(self, length: int) -> bytes:
        """Return what goes before `length` bytes of data, in the same message."""
        ...


class ChannelFraming:
    """ChannelFraming begins each message with a channel: 0 carries data, 1 the text of an error that ends the forward.

    The first two bytes from the server on each channel repeat the port (k8s.io/cri-streaming,
    portforward/websocket.go).
    """

    subprotocol: ClassVar[str] = "v4.channel.k8s.io"
    _DATA, _ERROR = 0, 1

    def __init__(self) -> None:
        self._channel = -1  # of the current message; -1 until its first byte is here
        self._port_bytes_left = [2, 2]
        self._error_text = b""
        self._begun = False

    def opening(self) -> bytes:
        return b""

    def data_header(self, _length: int) -> bytes:
        return b"\x00"

    def feed(self, pieces: Iterable[Payload]) -> list[FramingEvent]:
        return [event for piece in pieces for event in self._feed(piece)]

    def _feed(self, piece: Payload) -> list[FramingEvent]:
        events: list[FramingEvent] = []
        if not self._begun:
            self._begun = True
            events.append(ForwardReady())
        data = piece.data
        if piece.first:
            self._channel = -1
        if self._channel < 0:
            if not data:
                return events
            self._channel = data[0]
            data = data[1:]
        channel = self._channel
        if channel > self._ERROR:
            return events  # a later protocol's, perhaps; this one has two
        skip = self._port_bytes_left[channel]
        if skip:
            self._port_bytes_left[channel] -= min(skip, len(data))
            data = data[skip:]
        if channel == self._DATA:
            if data:
                events.append(ForwardData(data))
            return events
        self._error_text = (self._error_text + data)[:ERROR_TEXT_LIMIT_BYTES]
        if piece.last and self._error_text:
            events.append(ForwardEnded(self._error_text.decode(errors="replace").strip()))
        return events
