"""Packets as scapy builds them and checksums as scapy computes them: what `ktpy.packet` is measured against."""

import struct
from typing import Any

from scapy.layers.inet import IP, TCP, in4_pseudoheader
from scapy.layers.inet6 import IPv6, in6_pseudoheader
from scapy.packet import Raw
from scapy.utils import checksum as scapy_checksum

from ktpy.packet.flow import Hairpin
from ktpy.packet.headers import NEEDS_CSUM, VNET_HEADER_BYTES

ACCEPTOR_PORT = 40000
OWN4, PEER4 = "198.18.0.1", "198.18.0.2"
OWN6, PEER6 = "fd6b:7470:79::1", "fd6b:7470:79::2"
HAIRPIN4 = Hairpin(bytes([198, 18, 0, 1]), bytes([198, 18, 0, 2]), ACCEPTOR_PORT)
HAIRPIN6 = Hairpin(
    bytes.fromhex("fd6b747000790000") + (1).to_bytes(8, "big"),
    bytes.fromhex("fd6b747000790000") + (2).to_bytes(8, "big"),
    ACCEPTOR_PORT,
)
SERVICE4, SERVICE6 = "10.96.0.10", "fd96::10"


def own(family: int) -> str:
    return OWN4 if family == 4 else OWN6


def peer(family: int) -> str:
    return PEER4 if family == 4 else PEER6


def service(family: int) -> str:
    return SERVICE4 if family == 4 else SERVICE6


def tcp(
    source: tuple[str, int], destination: tuple[str, int], flags: str = "A", payload: bytes = b"", **fields: Any
) -> Any:
    """A scapy packet; the address family follows from the addresses."""
    layer = IPv6 if ":" in source[0] else IP
    segment = TCP(sport=source[1], dport=destination[1], flags=flags, **fields)
    packet = layer(src=source[0], dst=destination[0]) / segment
    return packet / Raw(payload) if payload else packet


def pseudo_sum(packet: Any) -> int:
    """The sum of the pseudo-header, not complemented: what the kernel leaves in the field with NEEDS_CSUM."""
    length = len(packet[TCP])
    header, pseudo = (packet[IP], in4_pseudoheader) if IP in packet else (packet[IPv6], in6_pseudoheader)
    return ~int(scapy_checksum(bytes(pseudo(6, header, length)))) & 0xFFFF


def wire(packet: Any, *, partial: bool = False, gso: tuple[int, int] = (0, 0)) -> bytearray:
    """The bytes a TUN with IFF_VNET_HDR hands over. `partial` leaves the TCP checksum to be completed."""
    ip_bytes = 20 if IP in packet else 40
    if partial:
        packet = packet.copy()
        packet[TCP].chksum = pseudo_sum(packet)
        header = struct.pack("<BBHHHH", NEEDS_CSUM, gso[0], ip_bytes + 20, gso[1], ip_bytes, 16)
    else:
        header = bytes(VNET_HEADER_BYTES)
    return bytearray(header + bytes(packet))


def parse(data: bytes | bytearray) -> Any:
    """The packet behind the virtio_net_hdr."""
    layer = IP if data[VNET_HEADER_BYTES] >> 4 == 4 else IPv6
    return layer(data[VNET_HEADER_BYTES:])


def recomputed(packet: Any) -> bytes:
    """The bytes of a packet with the checksums of its IP and transport headers computed afresh by scapy."""
    packet = packet.copy()
    for header in (packet, packet.payload):
        for name in ("chksum", "cksum"):
            if name in header.fields:
                delattr(header, name)
    return bytes(packet)


def completed(data: bytes | bytearray) -> bytes:
    """What the kernel, or a network card, makes of NEEDS_CSUM: the finished packet without its virtio_net_hdr."""
    flags, _, _, _, start, offset = struct.unpack_from("<BBHHHH", data)
    packet = bytearray(data[VNET_HEADER_BYTES:])
    if flags & NEEDS_CSUM:
        finished = scapy_checksum(bytes(packet[start:]))
        struct.pack_into("!H", packet, start + offset, finished)
    return bytes(packet)
