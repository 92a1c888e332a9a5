"""Files of packets, as Wireshark and tcpdump read them (pcapng, draft-ietf-opsawg-pcapng): one, or a ring of them."""

import os
import struct
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from ktpy.errors import FolderNotWritable

_SECTION, _INTERFACE, _NAMES, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 4, 5, 6
"""Types of blocks (section 4). scapy writes all but the two in the middle."""
_LINKTYPE_RAW: Final = 101
"""Packets that begin with their IP header."""
_END: Final = bytes(4)
"""Of options, and of names."""
_FLAGS, _RECEIVED, _SENT = 2, 1, 2
"""An option of a packet, and its direction in it (section 4.3.1)."""
_DROPPED: Final = 5
"""isb_ifdrop, an option of statistics."""
_RECORD_BY_VERSION: Final = {4: 1, 6: 2}
"""What a record of names is for, by IP version."""


class _PacketFile:
    """A _PacketFile is one section of one interface. Its times are in microseconds, which is what no option means."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.bytes = 0
        self._write(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        self._write(_INTERFACE, struct.pack("<HHI", _LINKTYPE_RAW, 0, 0))

    def add(self, at_s: float, data: bytes, length: int, *, is_sent: bool) -> None:
        head = struct.pack("<III", 0, *_halves(at_s)) + struct.pack("<II", len(data), length)
        self._write(_PACKET, head + _padded(data) + _option(_FLAGS, struct.pack("<I", _SENT if is_sent else _RECEIVED)))
        self._file.flush()

    def name(self, names: Mapping[str, str]) -> None:
        records = b""
        for address, name in names.items():
            found = ip_address(address)
            records += _labelled(_RECORD_BY_VERSION[found.version], found.packed + name.encode() + b"\0")
        self._write(_NAMES, records + _END)

    def close(self, dropped: int | None = None) -> None:
        with self._file:
            if dropped is not None:
                head = struct.pack("<III", 0, *_halves(time.time()))
                self._write(_STATISTICS, head + _option(_DROPPED, struct.pack("<Q", dropped)))

    def _write(self, kind: int, body: bytes) -> None:
        size = struct.pack("<I", 12 + len(body))
        self.bytes += self._file.write(struct.pack("<I", kind) + size + body + size)


def _halves(at_s: float) -> tuple[int, int]:
    at_us = int(at_s * 1e6)
    return at_us >> 32, at_us & 0xFFFFFFFF


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)


def _labelled(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + _padded(value)


def _option(kind: int, value: bytes) -> bytes:
    return _labelled(kind, value) + _END


class PacketFiles:
    """PacketFiles are written one after the other; of a ring the oldest is deleted."""

    def __init__(self, path: Path, file_bytes: int = 0, most: int = 0) -> None:
        """With `file_bytes` a further file begins when one has so many; with `most`, there are never more than these.

        Raises FolderNotWritable.
        """
        self._path, self._file_bytes, self._most = path, file_bytes, most
        self._names: dict[str, str] = {}
        self._number = 0
        self._file = self._begin()

    def add(self, at_s: float, data: bytes, length: int, *, is_sent: bool) -> None:
        """Write a packet. Raises FolderNotWritable, as on a disk that is full."""
        try:
            self._file.add(at_s, data, length, is_sent=is_sent)
            if self._file_bytes and self._file.bytes >= self._file_bytes:
                self._file.close()
                self._file = self._begin()
        except OSError as error:
            raise self._failed(error) from error

    def name(self, names: Mapping[str, str]) -> None:
        """Write the names of addresses, which Wireshark shows in their place."""
        self._names |= names
        self._file.name(names)

    def close(self, dropped: int) -> None:
        """Write how many packets are missing, and close."""
        try:
            self._file.close(dropped)
        except OSError as error:
            raise self._failed(error) from error

    def _begin(self) -> _PacketFile:
        self._number += 1
        if self._most and self._number > self._most:
            self._numbered(self._number - self._most).unlink(missing_ok=True)
        path = self._numbered(self._number)
        try:
            if not path.exists() or path.is_file():  # for its owner alone, as passwords are in it
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            file = _PacketFile(path)
            if self._names:
                file.name(self._names)
        except OSError as error:
            raise self._failed(error) from error
        return file

    def _numbered(self, number: int) -> Path:
        return self._path.with_stem(f"{self._path.stem}_{number:05}") if self._file_bytes else self._path

    def _failed(self, error: OSError) -> FolderNotWritable:
        return FolderNotWritable(
            f"{self._path} cannot be written ({error.strerror}); the capture ends, the session goes on."
        )
