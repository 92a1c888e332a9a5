"""Reassembly of IP fragments (RFC 791, 3.2; RFC 8200, 4.5): programs send datagrams larger than the TUN's MTU. Pure."""

import struct
from dataclasses import dataclass, field
from typing import Final

from ktpy.packet.headers import (
    FRAGMENT_HEADER,
    FRAGMENT_MASK,
    IPV4_HEADER_BYTES,
    IPV6_HEADER_BYTES,
    PROTOCOL_TCP,
    VNET_HEADER_BYTES,
)
from ktpy.packet.replies import ip

MAX_PACKETS: Final = 64
"""So many packets may be in pieces; beyond it the oldest is given up. That bounds memory to 4 MiB."""
MAX_AGE: Final = 30
"""A packet whose pieces do not all come is given up after so many calls of `expire` (Linux: ipfrag_time, seconds)."""
_MAX_PAYLOAD_BYTES: Final = {4: 65535 - IPV4_HEADER_BYTES, 6: 65535}
_MORE4: Final = 0x2000
_FRAGMENT6: Final = struct.Struct("!BxHI")


@dataclass(slots=True)
class _Pieces:
    payloads: dict[int, bytes] = field(default_factory=dict)
    """By offset in bytes."""
    received_bytes: int = 0
    total_bytes: int | None = None
    """Known once the last piece is here."""
    age: int = 0


@dataclass(frozen=True, slots=True)
class _Fragment:
    key: bytes
    """Addresses, protocol and identification."""
    protocol: int
    offset: int
    is_last: bool
    payload: bytes

    @property
    def addresses(self) -> bytes:
        return self.key[:-5]


def is_fragment(buffer: bytearray, length: int) -> bool:
    """Return whether a packet is a piece of another one. TCP, which knows the MTU, has none worth putting together."""
    if length < VNET_HEADER_BYTES + IPV4_HEADER_BYTES:
        return False
    if buffer[VNET_HEADER_BYTES] >> 4 == 4:
        return bool(int.from_bytes(buffer[16:18], "big") & FRAGMENT_MASK) and buffer[19] != PROTOCOL_TCP
    first_of_fragment_header = VNET_HEADER_BYTES + IPV6_HEADER_BYTES
    return (
        length > first_of_fragment_header
        and buffer[16] == FRAGMENT_HEADER
        and buffer[first_of_fragment_header] != PROTOCOL_TCP
    )


class Reassembly:
    """A Reassembly makes whole packets of fragments."""

    def __init__(self) -> None:
        self._packets: dict[bytes, _Pieces] = {}
        self.given_up = 0
        """Packets whose pieces did not all come, or do not fit together."""

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, buffer: bytearray, length: int) -> bytearray | None:
        """Take a packet that `is_fragment`; return the whole packet, behind its virtio_net_hdr, once it is there.

        Never raises on malformed input. Pieces that overlap void their packet (RFC 5722).
        """
        fragment = _parse4(buffer, length) if buffer[VNET_HEADER_BYTES] >> 4 == 4 else _parse6(buffer, length)
        if fragment is None:
            return None
        pieces = self._packets.get(fragment.key)
        if pieces is None:
            if len(self._packets) >= MAX_PACKETS:
                self._give_up(next(iter(self._packets)))
            pieces = self._packets[fragment.key] = _Pieces()
        end = fragment.offset + len(fragment.payload)
        if fragment.offset in pieces.payloads or end > _MAX_PAYLOAD_BYTES[4 if len(fragment.addresses) == 8 else 6]:
            self._give_up(fragment.key)
            return None
        pieces.payloads[fragment.offset] = fragment.payload
        pieces.received_bytes += len(fragment.payload)
        if fragment.is_last:
            pieces.total_bytes = end
        if pieces.total_bytes is None or pieces.received_bytes < pieces.total_bytes:
            return None
        return self._whole(fragment, pieces)

    def expire(self) -> None:
        """Give up what has waited for too long. Call this about once a second."""
        for key, pieces in list(self._packets.items()):
            pieces.age += 1
            if pieces.age > MAX_AGE:
                self._give_up(key)

    def _whole(self, fragment: _Fragment, pieces: _Pieces) -> bytearray | None:
        payload = bytearray()
        for offset in sorted(pieces.payloads):
            if offset != len(payload):
                self._give_up(fragment.key)
                return None
            payload += pieces.payloads[offset]
        del self._packets[fragment.key]
        half = len(fragment.addresses) // 2
        source, destination = fragment.addresses[:half], fragment.addresses[half:]
        return bytearray(ip(source, destination, fragment.protocol, bytes(payload)))

    def _give_up(self, key: bytes) -> None:
        del self._packets[key]
        self.given_up += 1


def _parse4(buffer: bytearray, length: int) -> _Fragment | None:
    start = VNET_HEADER_BYTES + (buffer[VNET_HEADER_BYTES] & 0xF) * 4
    end = min(length, VNET_HEADER_BYTES + int.from_bytes(buffer[12:14], "big"))
    field, protocol = int.from_bytes(buffer[16:18], "big"), buffer[19]
    if not VNET_HEADER_BYTES + IPV4_HEADER_BYTES <= start < end:
        return None
    key = bytes(buffer[22:30]) + bytes([protocol]) + bytes(2) + bytes(buffer[14:16])
    return _fragment(key, protocol, (field & 0x1FFF) * 8, bool(field & _MORE4), bytes(buffer[start:end]))


def _parse6(buffer: bytearray, length: int) -> _Fragment | None:
    header = VNET_HEADER_BYTES + IPV6_HEADER_BYTES
    start = header + _FRAGMENT6.size
    end = min(length, header + int.from_bytes(buffer[14:16], "big"))
    if start >= end:
        return None
    protocol, field, identification = _FRAGMENT6.unpack_from(buffer, header)
    key = bytes(buffer[18:50]) + bytes([protocol]) + identification.to_bytes(4, "big")
    return _fragment(key, protocol, field & 0xFFF8, bool(field & 1), bytes(buffer[start:end]))


def _fragment(key: bytes, protocol: int, offset: int, is_more: bool, payload: bytes) -> _Fragment | None:
    if is_more and len(payload) % 8:
        return None
    return _Fragment(key, protocol, offset, not is_more, payload)
