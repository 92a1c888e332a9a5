"""Playbooks of the framing by SPDY: messages in, events out, cut wherever messages and bytes can be cut."""

import struct
import zlib

import pytest

from ktpy.kube.portforward.framing import (
    ForwardData,
    ForwardEnded,
    ForwardReady,
    FramingError,
    FramingEvent,
    FramingReply,
)
from ktpy.kube.portforward.spdy import SpdyFraming
from ktpy.kube.portforward.websocket import Payload
from tests.unit.kube.portforward.test_framing import PORT, REFUSED, events


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
def test_streams(name: str, size: int) -> None:
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
def test_garbage_is_refused(name: str) -> None:
    with pytest.raises(FramingError):
        SpdyFraming(PORT).feed([Payload(GARBAGE[name], first=True, last=True)])


def test_endless_error_texts_are_cut_off() -> None:
    (ended,) = events(SpdyFraming(PORT), [Payload(data(1, b"x" * 100_000), first=True, last=True)])
    assert isinstance(ended, ForwardEnded)
    assert len(ended.why) < 20_000


def test_it_opens_an_error_and_a_data_stream() -> None:
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
    assert SpdyFraming(PORT).data_header(70_000) == struct.pack(">II", 3, 70_000)
