"""Playbooks of the framing by channels: messages in, events out, cut wherever messages and bytes can be cut."""

import struct

import pytest

from ktpy.kube.portforward.framing import (
    ChannelFraming,
    ForwardData,
    ForwardEnded,
    ForwardReady,
    Framing,
    FramingEvent,
)
from ktpy.kube.portforward.websocket import FrameReader, Payload
from tests.unit.kube.portforward.test_websocket import frame

PORT = 2222
PORT_BYTES = struct.pack("<H", PORT)
DATA, ERROR = b"\x00", b"\x01"
REFUSED = b"error forwarding port 2222: connect: connection refused"


def events(framing: Framing, pieces: list[Payload]) -> list[FramingEvent]:
    """Everything up to the end, with neighbouring data joined."""
    out: list[FramingEvent] = []
    for piece in pieces:
        for event in framing.feed([piece]):
            if isinstance(event, ForwardData) and out and isinstance(out[-1], ForwardData):
                event = ForwardData(bytes(out.pop().data) + event.data)  # type: ignore[union-attr]
            out.append(event)
            if isinstance(event, ForwardEnded):
                return out
    return out


def wire(sent: bytes, size: int) -> list[Payload]:
    """What the frame reader makes of bytes that arrive `size` at a time."""
    reader = FrameReader()
    pieces = [event for at in range(0, len(sent), size) for event in reader.feed(sent[at : at + size])]
    return [piece for piece in pieces if isinstance(piece, Payload)]


PREAMBLE = frame(2, DATA + PORT_BYTES) + frame(2, ERROR + PORT_BYTES)
CHANNELS: dict[str, tuple[bytes, list[FramingEvent]]] = {
    "port in messages of its own": (PREAMBLE + frame(2, DATA + b"abc"), [ForwardReady(), ForwardData(b"abc")]),
    "port and data in one message": (frame(2, DATA + PORT_BYTES + b"abc"), [ForwardReady(), ForwardData(b"abc")]),
    "port split over messages": (
        frame(2, DATA + PORT_BYTES[:1]) + frame(2, DATA + PORT_BYTES[1:] + b"abc"),
        [ForwardReady(), ForwardData(b"abc")],
    ),
    "fragments": (
        PREAMBLE + frame(2, DATA + b"a", final=False) + frame(0, b"b", final=False) + frame(0, b"c"),
        [ForwardReady(), ForwardData(b"abc")],
    ),
    "channel alone in a fragment": (
        PREAMBLE + frame(2, DATA, final=False) + frame(0, b"abc"),
        [ForwardReady(), ForwardData(b"abc")],
    ),
    "empty first fragment": (
        PREAMBLE + frame(2, b"", final=False) + frame(0, DATA + b"abc"),
        [ForwardReady(), ForwardData(b"abc")],
    ),
    "empty messages": (
        PREAMBLE + frame(2) + frame(2, DATA) + frame(2, DATA + b"abc"),
        [ForwardReady(), ForwardData(b"abc")],
    ),
    "an unknown channel": (
        PREAMBLE + frame(2, b"\x07nonsense") + frame(2, DATA + b"abc"),
        [ForwardReady(), ForwardData(b"abc")],
    ),
    "an empty error": (PREAMBLE + frame(2, ERROR) + frame(2, DATA + b"abc"), [ForwardReady(), ForwardData(b"abc")]),
    "an error": (PREAMBLE + frame(2, ERROR + REFUSED), [ForwardReady(), ForwardEnded(REFUSED.decode())]),
    "an error in fragments": (
        PREAMBLE + frame(2, ERROR + REFUSED[:9], final=False) + frame(0, REFUSED[9:]),
        [ForwardReady(), ForwardEnded(REFUSED.decode())],
    ),
    "an error after data": (
        PREAMBLE + frame(2, DATA + b"x") + frame(2, ERROR + b"lost\n"),
        [ForwardReady(), ForwardData(b"x"), ForwardEnded("lost")],
    ),
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("name", CHANNELS)
def test_channels(name: str, size: int) -> None:
    sent, expected = CHANNELS[name]
    assert events(ChannelFraming(), wire(sent, size)) == expected


def test_endless_error_texts_are_cut_off() -> None:
    (_, ended) = events(ChannelFraming(), wire(PREAMBLE + frame(2, ERROR + b"x" * 100_000), 1000))
    assert isinstance(ended, ForwardEnded)
    assert len(ended.why) < 20_000


def test_headers_of_data() -> None:
    assert ChannelFraming().data_header(70_000) == b"\x00"
