"""What a laptop asks of a claim's folder that it shows as a file system of its own, and what the agent answers. Pure.

A message is a list in JSON, and bytes after it. A request is [number, operation, arguments...], its answer
[number, errno, results...]. The agent speaks first: [0, 0, VERSION]. Paths are relative to the claim, "" is itself;
names that are no UTF-8 travel as surrogates (PEP 383).
"""

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

COMMAND: Final = "ktpy-agent volume "
"""Before the pod's own path of a claim's mount, see `wire.files.CLAIMS_DIR`."""
VERSION: Final = 1
TRANSFER_BYTES: Final = 1 << 20
"""So much is read or written by one message at most."""
_LIMIT_BYTES: Final = 1 << 28
"""Of a message; one of a large folder is the longest."""
_LENGTHS: Final = struct.Struct(">II")


class Status(NamedTuple):
    """A Status is what stat(2) tells of a file; times are in nanoseconds."""

    inode: int
    mode: int
    links: int
    size: int
    blocks: int
    accessed_ns: int
    modified_ns: int
    changed_ns: int


class Changes(NamedTuple):
    """Changes are what is to be set of a file; None leaves it."""

    size: int | None = None
    mode: int | None = None
    accessed_ns: int | None = None
    modified_ns: int | None = None


class Space(NamedTuple):
    """A Space is what statvfs(3) tells."""

    block_bytes: int
    blocks: int
    free: int
    available: int
    inodes: int
    free_inodes: int
    name_bytes: int


def packed(head: Sequence[Any], data: bytes | memoryview = b"") -> bytes:
    """Render a message."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((_LENGTHS.pack(len(text), len(data)), text, data))


class MessageParser:
    """A MessageParser reads messages as they come."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[list[Any], bytes]]:
        """Yield what has arrived as a whole. Raises ValueError for what is no message."""
        self._unread += data
        while len(self._unread) >= _LENGTHS.size:
            text_bytes, data_bytes = _LENGTHS.unpack_from(self._unread)
            if text_bytes + data_bytes > _LIMIT_BYTES:
                raise ValueError("it is no message")
            middle = _LENGTHS.size + text_bytes
            end = middle + data_bytes
            if len(self._unread) < end:
                return
            try:
                head = json.loads(self._unread[_LENGTHS.size : middle])
            except RecursionError as exc:
                raise ValueError("it is no message") from exc
            if not isinstance(head, list) or len(head) < 2 or not all(isinstance(one, int) for one in head[:1]):
                raise ValueError("it is no message")
            content = bytes(memoryview(self._unread)[middle:end])
            del self._unread[:end]
            yield head, content
