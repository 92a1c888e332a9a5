"""UDP: datagrams as they are read from the TUN and written to it, and the refusal of those that are not carried."""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from ktpy.packet import replies
from ktpy.packet.checksum import pseudo_header_sum
from ktpy.packet.flow_table import Answer, FlowTable
from ktpy.packet.headers import (
    IPV4_HEADER_BYTES,
    IPV6_HEADER_BYTES,
    NEEDS_CSUM,
    PROTOCOL_UDP,
    TCP6_OFFSET,
    VNET_HEADER_BYTES,
    Drop,
)

ANSWERS_PER_SECOND: Final = 1000
"""As many as Linux sends (icmp_msgs_per_sec of icmp(7))."""
UDP_HEADER_BYTES: Final = 8
MAX_PAYLOAD_BYTES: Final = {4: 65507, 6: 65527}
"""By IP version: what the length fields of IP and UDP leave."""
_FRAGMENT_OFFSET: Final = 0x1FFF
_BROADCAST: Final = b"\xff" * 4
_UDP: Final = struct.Struct("!HHHH")
_CHECKSUM_OFFSET: Final = 6
_VNET: Final = struct.Struct("=BBHHHH")
_PARTIAL: Final = {
    size: _VNET.pack(NEEDS_CSUM, 0, 0, 0, size, _CHECKSUM_OFFSET) for size in (IPV4_HEADER_BYTES, IPV6_HEADER_BYTES)
}
"""The virtio_net_hdr of a datagram whose checksum is left to the kernel, which need not compute it for itself."""


class Datagram(NamedTuple):
    """A Datagram is a packet without its headers; addresses are packed."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    payload: bytes


def parse_datagram(buffer: bytearray, length: int) -> Datagram | Drop:
    """Parse a packet whose `protocol_of` is UDP, checking every length; never raises on malformed input."""
    if buffer[VNET_HEADER_BYTES] >> 4 == 4:
        start = VNET_HEADER_BYTES + (buffer[VNET_HEADER_BYTES] & 0xF) * 4
        source, destination = bytes(buffer[22:26]), bytes(buffer[26:30])
        if int.from_bytes(buffer[16:18], "big") & _FRAGMENT_OFFSET:
            return Drop.FRAGMENT
    else:
        start, source, destination = TCP6_OFFSET, bytes(buffer[18:34]), bytes(buffer[34:50])
    if start + UDP_HEADER_BYTES > length:
        return Drop.MALFORMED
    source_port, destination_port, size, _ = _UDP.unpack_from(buffer, start)
    payload = bytes(buffer[start + UDP_HEADER_BYTES : min(start + size, length)])
    return Datagram(source, destination, source_port, destination_port, payload)


def is_unicast(address: bytes) -> bool:
    """Return whether a packed address is one host's. Those of 240.0.0.0/4 are, as for Linux; only broadcast is not."""
    if len(address) == 4:
        return not 224 <= address[0] < 240 and address != _BROADCAST
    return address[0] != 0xFF


def packet_of(datagram: Datagram) -> bytes:
    """Return the packet, behind its virtio_net_hdr. Raises ValueError for a payload that no datagram can have."""
    source, destination, source_port, destination_port, payload = datagram
    size = UDP_HEADER_BYTES + len(payload)
    if len(payload) > MAX_PAYLOAD_BYTES[4 if len(source) == 4 else 6]:
        raise ValueError(f"a datagram of {len(payload)} bytes")
    pseudo = pseudo_header_sum(source + destination, PROTOCOL_UDP, size)
    header = _UDP.pack(source_port, destination_port, size, pseudo)
    ip = replies.ip(source, destination, PROTOCOL_UDP, header + payload)[VNET_HEADER_BYTES:]
    return _PARTIAL[IPV4_HEADER_BYTES if len(source) == 4 else IPV6_HEADER_BYTES] + ip


def quoted(datagram: Datagram) -> bytes:
    """Return as much of a datagram as an ICMP error must quote, behind a virtio_net_hdr, as its sender knows it."""
    return packet_of(datagram._replace(payload=b""))


class UdpRefusal:
    """A UdpRefusal answers datagrams as a host without a listener does (RFC 1122, 4.1.3.1; RFC 4443, 3.1)."""

    def __init__(self, table: FlowTable, on_first: Callable[[bytes, int], None]) -> None:
        """`on_first` is called with the packed address and the port that the first refused datagram went to."""
        self._table = table
        self._on_first: Callable[[bytes, int], None] | None = on_first
        self._left = ANSWERS_PER_SECOND

    def renew(self) -> None:
        """Let another ANSWERS_PER_SECOND be sent. Call this once a second."""
        self._left = ANSWERS_PER_SECOND

    def receive(self, buffer: bytearray, length: int) -> Answer | None:
        """Take a packet whose `protocol_of` is UDP. Never raises on malformed input."""
        datagram = parse_datagram(buffer, length)
        if isinstance(datagram, Drop):
            self._table.count_drop(datagram)
            return None
        destination = datagram.destination
        is_ours = not any(datagram.source) or self._table.is_own_network(destination)
        if is_ours or not is_unicast(destination) or self._left == 0:
            self._table.count_drop(Drop.UNSUPPORTED)
            return None
        self._left -= 1
        self._table.counters.udp_refused += 1
        if self._on_first is not None:
            self._on_first(destination, datagram.destination_port)
            self._on_first = None
        return Answer(replies.port_unreachable(destination, bytes(buffer[:length])))
