"""Offsets and fields in what a TUN with IFF_VNET_HDR hands over: virtio_net_hdr, then IPv4 or IPv6, then TCP.

Offsets include the virtio_net_hdr, and hold for IP headers without options.
"""

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

VNET_HEADER_BYTES: Final = 10
"""sizeof(struct virtio_net_hdr): flags, gso_type, hdr_len, gso_size, csum_start, csum_offset."""
PLAIN_VNET_HEADER: Final = bytes(VNET_HEADER_BYTES)
"""A packet that is complete: no checksum left to do, nothing to segment."""
NEEDS_CSUM: Final = 0x01
"""VIRTIO_NET_HDR_F_NEEDS_CSUM: the TCP checksum field holds only the pseudo-header's sum, not complemented."""

PROTOCOL_ICMP: Final = 1
PROTOCOL_TCP: Final = 6
PROTOCOL_UDP: Final = 17
PROTOCOL_ICMPV6: Final = 58
EXTENSION_HEADERS: Final = frozenset({0, 43, 50, 51, 60, 135, 139, 140})
"""IPv6 next-header values that are not an upper protocol (IANA), without the fragment header."""
FRAGMENT_HEADER: Final = 44

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10

TCP_HEADER_BYTES: Final = 20
IPV4_HEADER_BYTES: Final = 20
IPV6_HEADER_BYTES: Final = 40
IPV4_PLAIN: Final = 0x45
"""First byte of an IPv4 header without options."""
FRAGMENT_MASK: Final = 0x3FFF
"""More-fragments and the fragment offset; don't-fragment does not count."""

TCP4_OFFSET: Final = VNET_HEADER_BYTES + IPV4_HEADER_BYTES
TCP6_OFFSET: Final = VNET_HEADER_BYTES + IPV6_HEADER_BYTES
TUPLE4_OFFSET: Final = VNET_HEADER_BYTES + 12
TUPLE4_BYTES: Final = 12
TUPLE6_OFFSET: Final = VNET_HEADER_BYTES + 8
"""Source, destination, source port and destination port lie side by side without IP options: one slice is a flow's
key, and one store rewrites it."""


class Drop(Enum):
    """A Drop is why a packet goes no further."""

    MALFORMED = "malformed"
    FRAGMENT = "fragment"
    OPTIONS = "options"
    UNSUPPORTED = "unsupported"
    HELD = "held"
    """A retransmission of a SYN whose flow is being dialled."""
    STRAY_RESET = "stray reset"
    """A reset of no known flow: it must never be answered."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A Segment holds the parts of a TCP packet by which an unknown flow is decided about."""

    key: bytes
    """Source, destination, source port, destination port, as they lie in the packet."""
    flags: int
    sequence: int
    acknowledgement: int
    length: int
    """The segment advances the sequence number by its payload's bytes, plus one each for SYN and FIN."""


_TCP = struct.Struct("!4xIIBB")


def protocol_of(buffer: bytearray, length: int) -> int | Drop:
    """Return the protocol (IANA) of the packet in `buffer[:length]`; never raises on malformed input.

    The lengths in the IP header are right then. IPv6 extension headers, which precede the protocol, are a Drop.
    """
    if length <= VNET_HEADER_BYTES:
        return Drop.MALFORMED
    version = buffer[VNET_HEADER_BYTES] >> 4
    if version == 4:
        if length < TCP4_OFFSET or buffer[VNET_HEADER_BYTES] < IPV4_PLAIN or _end4(buffer) > length:
            return Drop.MALFORMED
        return buffer[19]
    if version != 6 or length < TCP6_OFFSET or _end6(buffer) > length:
        return Drop.MALFORMED
    if buffer[16] == FRAGMENT_HEADER:
        return Drop.FRAGMENT
    return Drop.OPTIONS if buffer[16] in EXTENSION_HEADERS else buffer[16]


def parse_segment(buffer: bytearray) -> Segment | Drop:
    """Parse a packet whose `protocol_of` is TCP, checking every length; never raises on malformed input."""
    if buffer[VNET_HEADER_BYTES] >> 4 == 6:
        return _parse_tcp(buffer, TUPLE6_OFFSET, TCP6_OFFSET, _end6(buffer))
    if int.from_bytes(buffer[16:18], "big") & FRAGMENT_MASK:
        return Drop.FRAGMENT
    if buffer[VNET_HEADER_BYTES] != IPV4_PLAIN:
        return Drop.OPTIONS
    return _parse_tcp(buffer, TUPLE4_OFFSET, TCP4_OFFSET, _end4(buffer))


def _end4(buffer: bytearray) -> int:
    return VNET_HEADER_BYTES + int.from_bytes(buffer[12:14], "big")


def _end6(buffer: bytearray) -> int:
    return TCP6_OFFSET + int.from_bytes(buffer[14:16], "big")


def _parse_tcp(buffer: bytearray, tuple_offset: int, tcp: int, end: int) -> Segment | Drop:
    if end < tcp + TCP_HEADER_BYTES:
        return Drop.MALFORMED
    sequence, acknowledgement, data_offset, flags = _TCP.unpack_from(buffer, tcp)
    payload = tcp + (data_offset >> 4) * 4
    if payload < tcp + TCP_HEADER_BYTES or payload > end:
        return Drop.MALFORMED
    return Segment(
        key=bytes(buffer[tuple_offset : tcp + 4]),
        flags=flags,
        sequence=sequence,
        acknowledgement=acknowledgement,
        length=end - payload + bool(flags & SYN) + bool(flags & FIN),
    )
