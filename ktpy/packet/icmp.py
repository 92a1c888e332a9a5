"""ICMP echo (RFC 792, RFC 4443): requests as they are read from the TUN, and the replies that are written to it."""

import struct
from typing import Final, NamedTuple

from ktpy.packet import replies
from ktpy.packet.checksum import checksum, pseudo_header_sum
from ktpy.packet.headers import (
    FRAGMENT_MASK,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    TCP6_OFFSET,
    VNET_HEADER_BYTES,
    Drop,
)

REQUEST: Final = {4: 8, 6: 128}
REPLY: Final = {4: 0, 6: 129}
"""Types of an echo by IP version."""
ECHO_HEADER_BYTES: Final = 8
_ECHO: Final = struct.Struct("!BBHHH")


class Echo(NamedTuple):
    """An Echo is a request or a reply; addresses are packed."""

    source: bytes
    destination: bytes
    identifier: int
    sequence: int
    payload: bytes


def parse_echo(buffer: bytearray, length: int) -> Echo | Drop:
    """Parse a packet whose `protocol_of` is ICMP or ICMPv6, checking every length; never raises on malformed input.

    All but echo requests is Drop.UNSUPPORTED: errors and neighbour discovery of the kernel have no counterpart.
    """
    if buffer[VNET_HEADER_BYTES] >> 4 == 4:
        version, start = 4, VNET_HEADER_BYTES + (buffer[VNET_HEADER_BYTES] & 0xF) * 4
        end = VNET_HEADER_BYTES + int.from_bytes(buffer[12:14], "big")
        source, destination = bytes(buffer[22:26]), bytes(buffer[26:30])
        if int.from_bytes(buffer[16:18], "big") & FRAGMENT_MASK:
            return Drop.FRAGMENT
    else:
        version, start, end = 6, TCP6_OFFSET, TCP6_OFFSET + int.from_bytes(buffer[14:16], "big")
        source, destination = bytes(buffer[18:34]), bytes(buffer[34:50])
    if start + ECHO_HEADER_BYTES > min(end, length):
        return Drop.MALFORMED
    kind, _, _, identifier, sequence = _ECHO.unpack_from(buffer, start)
    if kind != REQUEST[version]:
        return Drop.UNSUPPORTED
    return Echo(source, destination, identifier, sequence, bytes(buffer[start + ECHO_HEADER_BYTES : end]))


def reply_of(echo: Echo) -> bytes:
    """Return the packet of a reply, behind its virtio_net_hdr."""
    return _packet(echo, REPLY)


def quoted(echo: Echo) -> bytes:
    """Return as much of a request as an ICMP error must quote, behind a virtio_net_hdr."""
    return _packet(echo._replace(payload=b""), REQUEST)


def _packet(echo: Echo, kinds: dict[int, int]) -> bytes:
    version, protocol = (4, PROTOCOL_ICMP) if len(echo.source) == 4 else (6, PROTOCOL_ICMPV6)
    size = ECHO_HEADER_BYTES + len(echo.payload)
    pseudo = 0 if version == 4 else pseudo_header_sum(echo.source + echo.destination, protocol, size)

    def message(icmp_checksum: int) -> bytes:
        return _ECHO.pack(kinds[version], 0, icmp_checksum, echo.identifier, echo.sequence) + echo.payload

    finished = checksum(pseudo.to_bytes(2, "big") + message(0))
    return replies.ip(echo.source, echo.destination, protocol, message(finished))
