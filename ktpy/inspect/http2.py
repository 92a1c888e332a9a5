"""Reads the requests and answers of a connection of HTTP/2 in clear text (RFC 9113) with hyperframe and hpack."""

from collections.abc import Callable
from typing import Final

from hpack import Decoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)

from ktpy.inspect.draft import UNANSWERED_LIMIT, UNFINISHED, Clock, Draft, Tell, TooManyUnanswered
from ktpy.inspect.record import Headers

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113, section 3.4."""
FRAME_LIMIT_BYTES: Final = 1 << 20
BLOCK_LIMIT_BYTES: Final = 128 << 10
_HEAD_BYTES: Final = 9


class UnreadableFrame(Exception):
    """A frame is larger than anybody sends, or out of its order."""


class Direction:
    """A Direction is what one end sends: frames, whose headers are unpacked in their order."""

    def __init__(
        self,
        on_headers: Callable[[int, Headers], None],
        on_data: Callable[[int, bytes], None],
        on_end: Callable[[int], None],
        on_reset: Callable[[int, int], None],
    ) -> None:
        self.other: Direction | None = None
        self._on_headers, self._on_data, self._on_end, self._on_reset = on_headers, on_data, on_end, on_reset
        self._buffer = bytearray()
        self.decoder = Decoder(max_header_list_size=BLOCK_LIMIT_BYTES)
        self._block: HeadersFrame | PushPromiseFrame | None = None
        self._packed = bytearray()
        """Of a block of headers that goes on in the next frame."""

    def receive(self, data: bytes) -> None:
        """Read the next piece. Raises UnreadableFrame, and what hyperframe and hpack do."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEAD_BYTES:
            frame, length = Frame.parse_frame_header(memoryview(bytes(buffer[at : at + _HEAD_BYTES])))
            if length > FRAME_LIMIT_BYTES:
                raise UnreadableFrame
            if len(buffer) - at < _HEAD_BYTES + length:
                break
            frame.parse_body(memoryview(bytes(buffer[at + _HEAD_BYTES : at + _HEAD_BYTES + length])))
            at += _HEAD_BYTES + length
            self._take(frame)
        del buffer[:at]

    def _take(self, frame: Frame) -> None:
        match frame:
            case HeadersFrame() | PushPromiseFrame() | ContinuationFrame():
                self._unpack(frame)
            case DataFrame():
                self._on_data(frame.stream_id, bytes(frame.data))
                if "END_STREAM" in frame.flags:
                    self._on_end(frame.stream_id)
            case RstStreamFrame():
                self._on_reset(frame.stream_id, frame.error_code)
            case SettingsFrame() if size := frame.settings.get(SettingsFrame.HEADER_TABLE_SIZE):
                assert self.other is not None  # noqa: S101 - the two are paired when they are made
                decoder = self.other.decoder  # what the other end may use from now on, or yet
                decoder.max_allowed_table_size = max(decoder.max_allowed_table_size, size)

    def _unpack(self, frame: HeadersFrame | PushPromiseFrame | ContinuationFrame) -> None:
        if isinstance(frame, ContinuationFrame) == (self._block is None):
            raise UnreadableFrame
        if not isinstance(frame, ContinuationFrame):
            self._block = frame
        self._packed += frame.data
        if len(self._packed) > BLOCK_LIMIT_BYTES:
            raise UnreadableFrame
        if "END_HEADERS" not in frame.flags:
            return
        begun, self._block = self._block, None
        headers = tuple(
            (_text(name), _text(value)) for name, value in self.decoder.decode(bytes(self._packed), raw=True)
        )
        self._packed.clear()
        if isinstance(begun, HeadersFrame):  # a promise is only unpacked, for what follows it
            self._on_headers(begun.stream_id, headers)
            if "END_STREAM" in begun.flags:
                self._on_end(begun.stream_id)


class Http2:
    """An Http2 reads one connection from its beginning: headers can only be unpacked in their order."""

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell, self._clock = tell, clock
        self._streams: dict[int, Draft] = {}
        self._preface = len(PREFACE)
        self._asking = Direction(self._take_request, self._take_request_data, lambda _: None, self._reset)
        self._answering = Direction(self._take_answer, self._take_answer_data, self._end, self._reset)
        self._asking.other, self._answering.other = self._answering, self._asking

    def asked(self, data: bytes) -> None:
        """Read what the client sent, the preface first."""
        skipped = min(self._preface, len(data))
        self._preface -= skipped
        self._asking.receive(data[skipped:])

    def answered(self, data: bytes) -> None:
        """Read what the server sent."""
        self._answering.receive(data)

    def ended(self) -> None:
        """Tell of what is left."""
        for draft in self._streams.values():
            draft.end(UNFINISHED)

    def _take_request(self, stream: int, headers: Headers) -> None:
        if stream in self._streams:  # trailers
            return
        if len(self._streams) >= UNANSWERED_LIMIT:
            raise TooManyUnanswered
        pseudo = dict(headers)
        method, path = pseudo.get(":method", ""), pseudo.get(":path", pseudo.get(":authority", ""))
        host = (("host", pseudo[":authority"]),) if ":authority" in pseudo else ()
        self._streams[stream] = Draft(self._tell, self._clock, "h2", method, path, host + _plain(headers))

    def _take_request_data(self, stream: int, data: bytes) -> None:
        if draft := self._streams.get(stream):
            draft.request.take(data)

    def _take_answer(self, stream: int, headers: Headers) -> None:
        if not (draft := self._streams.get(stream)):
            return
        found = dict(headers)
        if (status := found.get(":status")) is None:
            draft.answer.headers += headers
        elif not status.startswith("1"):
            draft.begin_answer(int(status), _plain(headers))
        if (code := found.get("grpc-status", "")).isdecimal():
            draft.grpc_status = int(code)

    def _take_answer_data(self, stream: int, data: bytes) -> None:
        if draft := self._streams.get(stream):
            draft.take_answer(data)

    def _end(self, stream: int) -> None:
        if draft := self._streams.pop(stream, None):
            draft.end()

    def _reset(self, stream: int, code: int) -> None:
        if draft := self._streams.pop(stream, None):
            draft.end(f"its stream was reset (code {code})")


def _plain(headers: Headers) -> Headers:
    return tuple((name, value) for name, value in headers if not name.startswith(":"))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
