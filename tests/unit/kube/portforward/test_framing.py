"""Playbooks of the two framings: messages in, events out, cut wherever messages and bytes can be cut."""

import struct
import zlib

import pytest

from ktpy.kube.portforward.framing import (
    ChannelFraming,
    ForwardData,
    ForwardEnded,
    ForwardReady,
    Framing,
    FramingError,
    FramingEvent,
    FramingReply,
)
from ktpy.kube.portforward.spdy import SpdyFraming
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
        for event in framing.feed(piece):
            if isinstance(event, ForwardData) and out and isinstance(out[-1], ForwardData):
                event = ForwardData(out.pop().data + event.data)  # type: ignore[union-attr]
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


def control(kind: int, payload: bytes, flags: int = 0, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(payload)) + payload


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", stream, flags << 24 | len(payload)) + payload


def number(stream: int) -> bytes:
    return struct.pack(">I", stream)


FIN = 1
ACCEPTED = control(2, number(1) + b"headers") + control(2, number(3))
SPDY: dict[str, tuple[bytes, list[FramingEvent]]] = {
    "streams accepted": (ACCEPTED, [ForwardReady()]),
    "the error stream alone": (control(2, number(1)), []),
    "data": (ACCEPTED + data(3, b"ab") + data(3, b"") + data(3, b"c"), [ForwardReady(), ForwardData(b"abc")]),
    "data of an unknown stream": (ACCEPTED + data(5, b"zz") + data(3, b"abc"), [ForwardReady(), ForwardData(b"abc")]),
    "ping": (ACCEPTED + control(6, number(2)), [ForwardReady(), FramingReply(control(6, number(2)))]),
    "answer to a ping": (ACCEPTED + control(6, number(1)), [ForwardReady()]),
    "settings, window update, headers": (
        ACCEPTED + control(4, number(0)) + control(9, bytes(8)) + control(8, number(3)) + data(3, b"x"),
        [ForwardReady(), ForwardData(b"x")],
    ),
    "nobody listens": (
        ACCEPTED + data(3, b"", FIN) + data(1, REFUSED) + control(3, number(3) + number(5)),
        [ForwardReady(), ForwardEnded(REFUSED.decode())],
    ),
    "error before the streams close": (ACCEPTED + data(1, b"lost\n"), [ForwardReady(), ForwardEnded("lost")]),
    "the pod closes": (
        ACCEPTED + data(3, b"bye", FIN) + data(1, b"", FIN),
        [ForwardReady(), ForwardData(b"bye"), ForwardEnded("")],
    ),
    "half of it closed is not the end": (ACCEPTED + data(3, b"bye", FIN), [ForwardReady(), ForwardData(b"bye")]),
    "streams reset": (
        ACCEPTED + control(3, number(3) * 2) + control(3, number(1) * 2),
        [ForwardReady(), ForwardEnded("")],
    ),
    "refused with FIN": (control(2, number(1), FIN) + control(2, number(3), FIN), [ForwardReady(), ForwardEnded("")]),
    "going away": (ACCEPTED + control(7, bytes(8)), [ForwardReady(), ForwardEnded("the node closes the port-forward")]),
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 1000])
@pytest.mark.parametrize("name", SPDY)
def test_spdy(name: str, size: int) -> None:
    sent, expected = SPDY[name]
    pieces = [Payload(sent[at : at + size], first=True, last=True) for at in range(0, len(sent), size)]
    assert events(SpdyFraming(PORT), pieces) == expected


GARBAGE = {
    "another version": control(2, number(3), version=2),
    "data of stream 0": data(0, b"x"),
    "a control frame too short": control(6, b""),
    "a control frame too long": control(2, b"")[:4] + struct.pack(">I", 1 << 20),
    "ones": b"\xff" * 20,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_spdy_garbage_is_refused(name: str) -> None:
    with pytest.raises(FramingError):
        SpdyFraming(PORT).feed(Payload(GARBAGE[name], first=True, last=True))


def test_endless_error_texts_are_cut_off() -> None:
    text = b"x" * 100_000
    (_, ended) = events(ChannelFraming(), wire(PREAMBLE + frame(2, ERROR + text), 1000))
    assert isinstance(ended, ForwardEnded)
    assert len(ended.why) < 20_000
    (ended,) = events(SpdyFraming(PORT), [Payload(data(1, text), first=True, last=True)])
    assert isinstance(ended, ForwardEnded)
    assert len(ended.why) < 20_000


def test_spdy_opens_an_error_and_a_data_stream() -> None:
    opening = SpdyFraming(PORT).opening()
    inflate = zlib.decompressobj()
    streams = {}
    while opening:
        version, kind, length, stream, _, _ = struct.unpack_from(">HHIIIH", opening)
        assert (version, kind) == (0x8003, 1)
        flags, length = length >> 24, length & 0xFFFFFF
        block = inflate.decompress(opening[18 : 8 + length])
        opening = opening[8 + length :]
        (count,) = struct.unpack_from(">I", block)
        texts, at = [], 4
        for _ in range(2 * count):
            (size,) = struct.unpack_from(">I", block, at)
            texts.append(block[at + 4 : at + 4 + size].decode())
            at += 4 + size
        assert at == len(block)
        streams[stream] = (flags, dict(zip(texts[::2], texts[1::2], strict=True)))
    assert streams == {
        1: (FIN, {"streamtype": "error", "port": "2222", "requestid": "0"}),
        3: (0, {"streamtype": "data", "port": "2222", "requestid": "0"}),
    }


def test_headers_of_data() -> None:
    assert ChannelFraming().data_header(70_000) == b"\x00"
    assert SpdyFraming(PORT).data_header(70_000) == struct.pack(">II", 3, 70_000)
