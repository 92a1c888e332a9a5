"""The client's side of WebSocket frames (RFC 6455, section 5): bytes in, events out. Pure, no I/O.

Payload is handed on as it comes in, not frame by frame, so a frame of any size needs no buffer here.
"""

import base64
import hashlib
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTROL_LIMIT_BYTES: Final = 125
_WHOLE_MESSAGE: Final = 0x80 | BINARY
_SHORT_HEADER_BYTES: Final = 4
_LENGTH_16: Final = struct.Struct(">H")
_LENGTH_64: Final = struct.Struct(">Q")


class FrameError(ValueError):
    """The peer's bytes are no frames a server may send."""


class Payload(NamedTuple):  # it takes a third of the time that a frozen dataclass does
    """A Payload is a piece of a message: its `first` piece, its `last`, both, or neither. It may be empty."""

    data: bytes | memoryview
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """A Ping has to be answered by a pong with the same data."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer ends the connection. 1005 stands for "no code given" (section 7.1.5)."""

    code: int
    reason: str


FrameEvent = Payload | Ping | Close


class FrameReader:
    """A FrameReader takes a server's bytes in pieces of any size and tells what they mean."""

    def __init__(self) -> None:
        self._held = b""  # a header that is not complete yet
        self._left_bytes: int | None = None  # of the current frame's payload; None between frames
        self._opcode = 0
        self._final = True
        self._first = True  # no piece of the current message has been handed on
        self._in_message = False  # a message's final frame is still to come
        self._control = b""

    def feed(self, data: bytes | memoryview) -> list[FrameEvent]:
        """Return the events that `data` completes, whose payload is parts of it, not copies.

        Raises FrameError; nothing may be fed after that.
        """
        events: list[FrameEvent] = []
        view = memoryview(self._held + data if self._held else data)
        self._held = b""
        position, end, left = 0, len(view), self._left_bytes
        while True:
            if left is None:
                if not self._in_message and (position := _take_messages(view, position, events)) == end:
                    break
                header_bytes = self._read_header(view, position)
                if not header_bytes:
                    self._held = bytes(view[position:])
                    break
                position += header_bytes
                left = self._left_bytes
                assert left is not None  # noqa: S101  # a header has just been read
            piece = view[position : position + left]
            position += len(piece)
            left -= len(piece)
            if self._opcode >= CLOSE:
                self._control += piece
                if not left:
                    self._end_control(events)
            elif piece or not left:
                last = self._final and not left
                events.append(Payload(piece, self._first, last))
                self._first = last
                if last:
                    self._in_message = False
            if left or position == end:
                self._left_bytes = left or None
                break
            left = self._left_bytes = None
        return events

    def _read_header(self, data: memoryview, position: int) -> int:
        """Take in the header at `position` and return its length; 0 while it is not complete."""
        available = len(data) - position
        if available < 2:
            return 0
        first, second = data[position], data[position + 1]
        length, header_bytes = second & 0x7F, 2
        if length == 126:
            header_bytes = 4
        elif length == 127:
            header_bytes = 10
        if available < header_bytes:
            return 0
        if header_bytes == 4:
            (length,) = _LENGTH_16.unpack_from(data, position + 2)
        elif header_bytes == 10:
            (length,) = _LENGTH_64.unpack_from(data, position + 2)
        self._begin(first, second, length)
        return header_bytes

    def _begin(self, first: int, second: int, length: int) -> None:
        opcode, final = first & 0x0F, bool(first & 0x80)
        if first & 0x70:
            raise FrameError("a frame has reserved bits set")
        if second & 0x80:
            raise FrameError("a server's frame is masked")
        if length >> 63:
            raise FrameError("a frame's length is out of range")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise FrameError(f"opcode {opcode:#x} is not defined")
        self._opcode = opcode
        self._left_bytes = length
        if opcode >= CLOSE:
            if not final or length > _CONTROL_LIMIT_BYTES:
                raise FrameError("a control frame is too long or fragmented")
            return
        if self._in_message != (opcode == CONTINUATION):
            raise FrameError("a message begins inside another, or continues none")
        self._in_message = True
        self._final = final

    def _end_control(self, events: list[FrameEvent]) -> None:
        data, self._control = self._control, b""
        if self._opcode == PING:
            events.append(Ping(data))
        elif self._opcode == CLOSE:
            code = _LENGTH_16.unpack_from(data)[0] if len(data) >= 2 else 1005
            events.append(Close(code, data[2:].decode(errors="replace")))


def _take_messages(view: memoryview, position: int, events: list[FrameEvent]) -> int:
    """Take the messages of one frame, not a long one, that have come whole, as nearly all do; return their end."""
    end = len(view)
    while end - position > _SHORT_HEADER_BYTES and view[position] == _WHOLE_MESSAGE:
        length, body = view[position + 1], position + 2
        if length > 126:
            break
        if length == 126:
            length, body = view[body] << 8 | view[body + 1], body + 2
        if length > end - body:
            break
        events.append(Payload(view[body : body + length], True, True))
        position = body + length
    return position


def client_header(opcode: int, length: int) -> bytes:
    """Return the header of a final frame with `length` bytes of payload, masked with the key 0.

    A client must mask (section 5.3), so that no web page can make bytes of its choosing appear on the wire before a
    confused proxy. Here no web page chooses the bytes, and TLS hides them from proxies. The key 0 is a legal key under
    which masked and plain payload are the same: no pass over the data on our side.
    """
    if length < 126:
        return bytes((0x80 | opcode, 0x80 | length, 0, 0, 0, 0))
    if length < 1 << 16:
        return struct.pack(">BBHI", 0x80 | opcode, 0xFE, length, 0)
    return struct.pack(">BBQI", 0x80 | opcode, 0xFF, length, 0)


def accept_key(key: str) -> str:
    """Return what a server that understood the upgrade answers to Sec-WebSocket-Key (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_GUID, usedforsecurity=False).digest()).decode()
