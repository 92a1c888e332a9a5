"""Playbooks of the frame reader: a server's bytes in, events out, split wherever bytes can be split."""

import struct

import pytest

from ktpy.kube.portforward.websocket import (
    BINARY,
    CLOSE,
    PING,
    Close,
    FrameError,
    FrameEvent,
    FrameReader,
    Payload,
    Ping,
    accept_key,
    client_header,
)


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame as a server sends it."""
    first = opcode | (0x80 if final else 0)
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 1 << 16:
        return struct.pack(">BBH", first, 126, len(payload)) + payload
    return struct.pack(">BBQ", first, 127, len(payload)) + payload


def messages(events: list[FrameEvent]) -> list[bytes | FrameEvent]:
    """Payload pieces joined to messages, so that playbooks do not depend on where the bytes were split."""
    out: list[bytes | FrameEvent] = []
    current: bytes | None = None
    for event in events:
        if not isinstance(event, Payload):
            out.append(event)
            continue
        assert event.first == (current is None)
        current = (current or b"") + event.data
        if event.last:
            out.append(current)
            current = None
    assert current is None
    return out


PLAYBOOKS: dict[str, tuple[bytes, list[bytes | FrameEvent]]] = {
    "one message": (frame(2, b"hello"), [b"hello"]),
    "empty message": (frame(2) + frame(2, b"x"), [b"", b"x"]),
    "16-bit length": (frame(2, b"x" * 126), [b"x" * 126]),
    "64-bit length": (frame(2, b"y" * 65536), [b"y" * 65536]),
    "a text frame is a message too": (frame(1, b"text"), [b"text"]),
    "fragments": (frame(2, b"ab", final=False) + frame(0, b"cd", final=False) + frame(0, b"ef"), [b"abcdef"]),
    "empty fragments": (frame(2, b"", final=False) + frame(0, b"", final=False) + frame(0, b"z"), [b"z"]),
    "ping between fragments": (
        frame(2, b"ab", final=False) + frame(9, b"?") + frame(0, b"cd"),
        [Ping(b"?"), b"abcd"],
    ),
    "ping without data": (frame(9), [Ping(b"")]),
    "pong is nothing": (frame(10, b"!") + frame(2, b"x"), [b"x"]),
    "close with reason": (frame(8, struct.pack(">H", 1001) + b"going"), [Close(1001, "going")]),
    "close without code": (frame(8), [Close(1005, "")]),
    "close with bad UTF-8": (frame(8, struct.pack(">H", 1000) + b"\xff"), [Close(1000, "\ufffd")]),
}


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_split_into_single_bytes(name: str) -> None:
    sent, expected = PLAYBOOKS[name]
    reader = FrameReader()
    head, tail = sent[:300], sent[300:][-20:]  # of long payloads only the ends are interesting
    events = [event for byte in head for event in reader.feed(bytes((byte,)))]
    events += reader.feed(sent[300 : len(sent) - len(tail)])
    events += [event for byte in tail for event in reader.feed(bytes((byte,)))]
    assert messages(events) == expected


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_split_in_two_at_every_boundary(name: str) -> None:
    sent, expected = PLAYBOOKS[name]
    # Of long payloads only the ends are interesting.
    for boundary in {*range(min(len(sent), 300)), *range(max(0, len(sent) - 20), len(sent) + 1)}:
        reader = FrameReader()
        assert messages(reader.feed(sent[:boundary]) + reader.feed(sent[boundary:])) == expected


def test_payload_is_handed_on_before_its_frame_is_complete() -> None:
    reader = FrameReader()
    assert reader.feed(frame(2, b"x" * 1000)[:104]) == [Payload(b"x" * 100, first=True, last=False)]


GARBAGE = {
    "reserved bit": b"\xc2\x00",
    "masked by a server": b"\x82\x80\x00\x00\x00\x00",
    "unknown opcode": b"\x83\x00",
    "unknown control opcode": b"\x8b\x00",
    "length beyond 63 bits": b"\x82\x7f\xff" + bytes(7),
    "long ping": frame(9, b"x" * 126),
    "fragmented ping": frame(9, b"x", final=False),
    "continuation of nothing": frame(0, b"x"),
    "message inside a message": frame(2, b"a", final=False) + frame(2, b"b"),
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused(name: str) -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(GARBAGE[name])


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, "8280 00000000"),
        (125, "82fd 00000000"),
        (126, "82fe 007e 00000000"),
        (65535, "82fe ffff 00000000"),
        (65536, "82ff 0000000000010000 00000000"),
    ],
)
def test_client_header_masks_with_zero(length: int, header: str) -> None:
    assert client_header(BINARY, length) == bytes.fromhex(header)


def test_client_header_of_control_frames() -> None:
    assert client_header(PING, 0)[0] == 0x89
    assert client_header(CLOSE, 2)[:2] == b"\x88\x82"


def test_accept_key_is_that_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # section 1.3
