"""Packets that ktpy makes: a TCP reset (RFC 9293, 3.10.7.1) and an ICMP unreachable (RFC 792, RFC 4443).

Each is complete, behind a plain virtio_net_hdr.
"""

import struct

from ktpy.packet.checksum import checksum, pseudo_header_sum
from ktpy.packet.headers import (
    ACK,
    IPV4_HEADER_BYTES,
    IPV4_PLAIN,
    PLAIN_VNET_HEADER,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    PROTOCOL_TCP,
    RST,
    TCP_HEADER_BYTES,
    TUPLE4_BYTES,
    VNET_HEADER_BYTES,
    Segment,
)

_HOP_LIMIT = 64
_DONT_FRAGMENT = 0x4000
_HOST_UNREACHABLE = {4: (3, 1), 6: (1, 3)}
"""By IP version. Linux fails a connect() in SYN_SENT with EHOSTUNREACH on either of these."""
_PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}
_ICMPV6_QUOTE_BYTES = 1280 - 40 - 8
_ICMP_QUOTE_BYTES = 576 - 20 - 8
"""How much of the offending packet is quoted: the answer must fit the smallest MTU a host has to accept."""
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!4sIIBBHHH")
_ICMP = struct.Struct("!BBHI")


def reset(segment: Segment) -> bytes:
    """Return the RST by which a host without such a connection answers `segment`."""
    source, destination, source_port, destination_port = _split(segment.key)
    if segment.flags & ACK:
        sequence, acknowledgement, flags = segment.acknowledgement, 0, RST
    else:
        sequence, acknowledgement, flags = 0, (segment.sequence + segment.length) & 0xFFFFFFFF, RST | ACK

    def header(tcp_checksum: int) -> bytes:
        ports = destination_port + source_port
        return _TCP.pack(ports, sequence, acknowledgement, 5 << 4, flags, 0, tcp_checksum, 0)

    pseudo = pseudo_header_sum(destination + source, PROTOCOL_TCP, TCP_HEADER_BYTES)
    tcp = header(checksum(pseudo.to_bytes(2, "big") + header(0)))
    return ip(destination, source, PROTOCOL_TCP, tcp)


def icmp_error(kind: int, code: int, router: bytes, packet: bytes) -> bytes:
    """Return the ICMP error of that type by which `router` tells the sender of `packet`, see `unreachable`."""
    return _icmp_error({packet[VNET_HEADER_BYTES] >> 4: (kind, code)}, router, packet)


def unreachable(router: bytes, packet: bytes) -> bytes:
    """Return the ICMP error by which `router` tells the sender of `packet`, behind its virtio_net_hdr, that its
    destination cannot be reached. `router` is an address of the packet's family."""
    return _icmp_error(_HOST_UNREACHABLE, router, packet)


def port_unreachable(host: bytes, packet: bytes) -> bytes:
    """Return the ICMP error by which `host` refuses the datagram `packet`, see `unreachable`."""
    return _icmp_error(_PORT_UNREACHABLE, host, packet)


def _icmp_error(codes: dict[int, tuple[int, int]], router: bytes, packet: bytes) -> bytes:
    quoted = packet[VNET_HEADER_BYTES:]
    code = codes[quoted[0] >> 4]
    if len(router) == 4:
        body = quoted[:_ICMP_QUOTE_BYTES]
        message = _ICMP.pack(*code, checksum(_ICMP.pack(*code, 0, 0) + body), 0) + body
        return ip(router, quoted[12:16], PROTOCOL_ICMP, message)
    body = quoted[:_ICMPV6_QUOTE_BYTES]
    sender = quoted[8:24]
    pseudo = pseudo_header_sum(router + sender, PROTOCOL_ICMPV6, _ICMP.size + len(body))
    icmp_checksum = checksum(pseudo.to_bytes(2, "big") + _ICMP.pack(*code, 0, 0) + body)
    return ip(router, sender, PROTOCOL_ICMPV6, _ICMP.pack(*code, icmp_checksum, 0) + body)


def _split(key: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    size = 4 if len(key) == TUPLE4_BYTES else 16
    return key[:size], key[size : 2 * size], key[-4:-2], key[-2:]


def ip(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    if len(source) == 16:
        header = _IPV6.pack(6 << 28, len(payload), protocol, _HOP_LIMIT, source, destination)
        return PLAIN_VNET_HEADER + header + payload

    def header4(header_checksum: int) -> bytes:
        total = IPV4_HEADER_BYTES + len(payload)
        fixed = (IPV4_PLAIN, 0, total, 0, _DONT_FRAGMENT, _HOP_LIMIT, protocol)
        return _IPV4.pack(*fixed, header_checksum, source, destination)

    return PLAIN_VNET_HEADER + header4(checksum(header4(0))) + payload
