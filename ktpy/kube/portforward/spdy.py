"""The little of SPDY/3.1 that a port-forward of two streams takes, as tunnelled in WebSocket messages. Pure, no I/O.

The API server takes the bytes out of the messages and hands them to the node (KEP-4006). `v4.channel.k8s.io` instead
has the node's container runtime undo the WebSocket mask byte by byte, which made it the narrowest place of all for
what we send: 0.5 of the throughput of `kubectl port-forward`, 0.9 this way.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import ClassVar, Final

from ktpy.kube.portforward.framing import (
    ERROR_TEXT_LIMIT_BYTES,
    ForwardData,
    ForwardEnded,
    ForwardReady,
    FramingError,
    FramingEvent,
    FramingReply,
)
from ktpy.kube.portforward.websocket import Payload

_CONTROL: Final = 0x8000 | 3  # the first half-word of a control frame of SPDY version 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_FIN: Final = 0x01
_ERROR_STREAM, _DATA_STREAM = 1, 3  # a client's streams have odd numbers, in the order of their opening
_CONTROL_LIMIT_BYTES: Final = 64 << 10
_HEADER_BYTES: Final = 8
_HEADER: Final = struct.Struct(">II")


class SpdyFraming:
    """SpdyFraming has an error stream and a data stream of one request, as kubectl opens them for each connection."""

    subprotocol: ClassVar[str] = "SPDY/3.1+portforward.k8s.io"

    def __init__(self, port: int) -> None:
        self._port = port
        self._held = b""  # a frame's header that is not complete yet
        self._left_bytes = 0  # of the current frame
        self._stream = 0  # whose data the current frame carries; 0 for a control frame
        self._kind = 0  # of the current control frame
        self._flags = 0
        self._control = b""
        self._error_text = b""
        self._open = {_ERROR_STREAM, _DATA_STREAM}

    def opening(self) -> bytes:
        # SPDY's own dictionary for zlib may be left out: a zlib stream says itself whether it needs one (RFC 1950).
        compressor = zlib.compressobj()
        frames = b""
        for stream, kind, flags in ((_ERROR_STREAM, "error", _FIN), (_DATA_STREAM, "data", 0)):
            headers = {"streamtype": kind, "port": str(self._port), "requestid": "0"}
            block = struct.pack(">I", len(headers))
            for pair in headers.items():
                for text in pair:
                    block += struct.pack(">I", len(text)) + text.encode()
            packed = compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)
            length = 10 + len(packed)
            frames += struct.pack(">HHIIIH", _CONTROL, _SYN_STREAM, flags << 24 | length, stream, 0, 0) + packed
        return frames

    def data_header(self, length: int) -> bytes:
        return struct.pack(">II", _DATA_STREAM, length)

    def feed(self, pieces: Iterable[Payload]) -> list[FramingEvent]:
        """Tell what pieces mean. Frames and messages are cut independently of each other."""
        events: list[FramingEvent] = []
        for data, _, _ in pieces:
            if self._stream == _DATA_STREAM and 0 < len(data) < self._left_bytes:  # the middle of data, as most is
                self._left_bytes -= len(data)
                events.append(ForwardData(data))
            else:
                self._feed(data, events)
        return events

    def _feed(self, data: bytes | memoryview, events: list[FramingEvent]) -> None:
        if self._held:
            data = memoryview(self._held + data)
        self._held = b""
        position, end = 0, len(data)
        while position < end:
            if not self._left_bytes:
                if end - position < _HEADER_BYTES:
                    self._held = bytes(data[position:])
                    break
                self._begin(data, position, events)
                position += _HEADER_BYTES
                if not self._left_bytes:
                    continue
            part = data[position : position + self._left_bytes]
            position += len(part)
            self._left_bytes -= len(part)
            if self._stream == _DATA_STREAM:
                if part:
                    events.append(ForwardData(part))
            else:
                self._take(part)
            if not self._left_bytes:
                self._end(events)

    def _begin(self, data: bytes | memoryview, position: int, events: list[FramingEvent]) -> None:
        word, length = _HEADER.unpack_from(data, position)
        self._flags, self._left_bytes = length >> 24, length & 0xFFFFFF
        if word >> 31:
            if word >> 16 != _CONTROL:
                raise FramingError(f"SPDY version {word >> 16 & 0x7FFF}")
            if not 4 <= self._left_bytes <= _CONTROL_LIMIT_BYTES:
                raise FramingError(f"a SPDY control frame of {self._left_bytes} bytes")
            self._stream, self._kind, self._control = 0, word & 0xFFFF, b""
            return
        if not word:
            raise FramingError("SPDY data of stream 0")
        self._stream = word
        if not self._left_bytes:
            self._end(events)

    def _take(self, part: bytes | memoryview) -> None:
        if not self._stream:
            self._control += part
        elif self._stream == _ERROR_STREAM:
            self._error_text = (self._error_text + part)[:ERROR_TEXT_LIMIT_BYTES]

    def _end(self, events: list[FramingEvent]) -> None:
        if not self._stream:
            self._end_control(events)
        elif self._flags & _FIN or self._stream == _ERROR_STREAM:
            self._end_data(events)

    def _end_data(self, events: list[FramingEvent]) -> None:
        if self._stream == _ERROR_STREAM and self._error_text:
            self._end_stream(_ERROR_STREAM, events)
        elif self._flags & _FIN:
            self._end_stream(self._stream, events)

    def _end_control(self, events: list[FramingEvent]) -> None:
        (number,) = struct.unpack_from(">I", self._control)
        if self._kind == _SYN_REPLY:
            if number == _DATA_STREAM:
                events.append(ForwardReady())
            if self._flags & _FIN:
                self._end_stream(number, events)
        elif self._kind == _RST_STREAM:
            self._end_stream(number, events)
        elif self._kind == _PING and number % 2 == 0:  # the server's numbers are even
            events.append(FramingReply(struct.pack(">HHII", _CONTROL, _PING, 4, number)))
        elif self._kind == _GOAWAY:
            events.append(ForwardEnded(self._reason() or "the node closes the port-forward"))

    def _end_stream(self, stream: int, events: list[FramingEvent]) -> None:
        """End the forward with its data stream, or with the error stream, on which a reason may follow."""
        self._open.discard(stream)
        if self._error_text or not self._open:
            events.append(ForwardEnded(self._reason()))

    def _reason(self) -> str:
        return self._error_text.decode(errors="replace").strip()
