"""The frames between the laptop, which decides, and the agent, which tells what is there and does as told. Pure.

A frame is a length, a kind and a payload. Many small ones travel in one write. The laptop begins with HELLO; the agent
answers in kind, tells ENTRYs and TOLD, and again whenever something has changed. Each request has a number that its
RESULT carries; requests are done in the order in which they come.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ktpy.wire.sync.entries import ABSENT, Entry, decoded

COMMAND: Final = "ktpy-agent sync "
"""What a laptop asks sshd to run, with the folder after it."""
VERSION: Final = 2

HELLO: Final = 1
"""JSON both ways. The laptop: `version`, `time_ns`, `rules`; the agent: `version`, `time_ns`, `root`, `folds_case`."""
RULES: Final = 2
"""The ignore files of the laptop's side have changed: JSON, as `rules` of HELLO."""
ENTRY: Final = 3
TOLD: Final = 4
"""Everything that was found has been told."""
PUT: Final = 5
"""Make the entry what is said, if it is as expected. The content of a file of up to SMALL_BYTES follows."""
OFFER: Final = 6
"""As PUT, for a larger file; the answer is HAVE, and BLOCKs and END follow that."""
HAVE: Final = 7
"""Digests of the blocks that the receiver has: they need not be sent."""
BLOCK: Final = 8
"""A block of the file: its number and its bytes."""
END: Final = 9
"""All blocks are sent. A file that has not the digest that was said was changed meanwhile, and is given up."""
DELETE: Final = 10
ASIDE: Final = 11
"""Give the entry the name of a conflict copy; its new name is the detail of the result."""
GET: Final = 12
"""Send a file, as PUT, or as BLOCKs and END; HAVE follows at once for one larger than SMALL_BYTES. To the laptop."""
RESULT: Final = 13

DONE: Final = 0
STALE: Final = 1
"""The entry is not as expected; nothing was done."""
FAILED: Final = 2
"""The detail is the errno, in decimal."""

SMALL_BYTES: Final = 64 << 10
BLOCK_BYTES: Final = 256 << 10
MAX_FRAME_BYTES: Final = 16 << 20
_HEAD: Final = struct.Struct("!IB")
_NUMBER: Final = struct.Struct("!I")


class Request(NamedTuple):
    """A Request is what PUT, OFFER, DELETE, ASIDE and GET carry."""

    number: int
    path: bytes
    expected: Entry | None
    entry: Entry | None = None
    """What it shall be."""
    content: bytes = b""

    def frame(self, kind: int) -> bytes:
        """Render it as a frame of that kind."""
        expected, entry = self.expected or ABSENT, self.entry or ABSENT
        numbered = _NUMBER.pack(self.number)
        return frame(kind, b"".join((numbered, expected.encoded(b""), entry.encoded(self.path), self.content)))

    @classmethod
    def parse(cls, payload: bytes) -> "Request":
        expected, _, at = decoded(payload, _NUMBER.size, has_path=False)
        entry, path, at = decoded(payload, at)
        return cls(number_of(payload), path, expected, entry, payload[at:])


class Result(NamedTuple):
    """A Result tells what came of a request, and what is there now."""

    number: int
    status: int
    entry: Entry | None
    detail: bytes = b""

    def frame(self) -> bytes:
        """Render it as a RESULT."""
        entry = (self.entry or ABSENT).encoded(b"")
        return frame(RESULT, b"".join((_NUMBER.pack(self.number), bytes([self.status]), entry, self.detail)))

    @classmethod
    def parse(cls, payload: bytes) -> "Result":
        entry, _, at = decoded(payload, _NUMBER.size + 1, has_path=False)
        return cls(number_of(payload), payload[_NUMBER.size], entry, payload[at:])


def frame(kind: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(len(payload), kind) + payload


def numbered(kind: int, number: int, payload: bytes = b"") -> bytes:
    """Return a HAVE or an END of request `number`."""
    return frame(kind, _NUMBER.pack(number) + payload)


def block_head(number: int, index: int, size: int) -> bytes:
    """Return what comes before the bytes of a BLOCK: who joins many copies them once."""
    return b"".join((_HEAD.pack(size + 2 * _NUMBER.size, BLOCK), _NUMBER.pack(number), _NUMBER.pack(index)))


def number_of(payload: bytes, at: int = 0) -> int:
    """Return the number that a payload begins with; raises ValueError where there is none."""
    try:
        return int(_NUMBER.unpack_from(payload, at)[0])
    except struct.error as exc:
        raise ValueError("a frame is cut") from exc


def after_number(payload: bytes) -> bytes:
    return payload[_NUMBER.size :]


def block_of(payload: bytes) -> tuple[int, int, memoryview]:
    """Return number, index and bytes of a BLOCK."""
    return number_of(payload), number_of(payload, _NUMBER.size), memoryview(payload)[2 * _NUMBER.size :]


def said(kind: int, **values: Any) -> bytes:
    """Return a HELLO or RULES."""
    return frame(kind, json.dumps(values).encode())


def heard(payload: bytes) -> dict[str, Any]:
    """Return what a HELLO or RULES says; raises ValueError for another form."""
    try:
        values = json.loads(payload)
    except RecursionError as exc:
        raise ValueError("a frame is nested too deep") from exc
    if not isinstance(values, dict):
        raise ValueError("a frame says nothing")  # noqa: TRY004 - who reads frames catches ValueError
    return values


class FrameParser:
    """A FrameParser splits a stream into frames, however it was cut."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield kind and payload of what has arrived whole; raises ValueError for a frame that is too large."""
        unread = self._unread
        unread += data
        at = 0
        try:
            while len(unread) - at >= _HEAD.size:
                length, kind = _HEAD.unpack_from(unread, at)
                if length > MAX_FRAME_BYTES:
                    raise ValueError(f"a frame of {length} bytes")
                end = at + _HEAD.size + length
                if end > len(unread):
                    return
                with memoryview(unread) as whole:
                    payload = bytes(whole[at + _HEAD.size : end])
                at = end
                yield kind, payload
        finally:
            del unread[:at]
