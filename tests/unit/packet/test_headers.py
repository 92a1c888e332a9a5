"""Parsing: what scapy built comes back, what is broken is named, nothing raises."""

import random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

from ktpy.packet.headers import ACK, FIN, PROTOCOL_TCP, SYN, Drop, Segment, parse_segment, protocol_of
from tests.unit.packet.oracle import SERVICE4, SERVICE6, own, service, tcp, wire

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def parse(data: bytes | bytearray) -> Segment | Drop | int:
    """The segment, or why there is none; the protocol's number when it is not TCP."""
    protocol = protocol_of(bytearray(data), len(data))
    return parse_segment(bytearray(data)) if protocol == PROTOCOL_TCP else protocol


@FAMILIES
def test_a_segment_has_the_fields_scapy_wrote(family: int) -> None:
    packet = tcp((own(family), 50000), (service(family), 80), "FA", b"abc", seq=7, ack=9)
    segment = parse(wire(packet))
    assert isinstance(segment, Segment)
    assert segment.flags == FIN | ACK
    assert (segment.sequence, segment.acknowledgement) == (7, 9)
    assert segment.length == len(b"abc") + 1
    assert segment.key[-4:] == (50000).to_bytes(2, "big") + (80).to_bytes(2, "big")
    assert len(segment.key) == (12 if family == 4 else 36)


@FAMILIES
def test_tcp_options_are_not_payload(family: int) -> None:
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
    segment = parse(wire(tcp((own(family), 50000), (service(family), 80), "S", options=options)))
    assert isinstance(segment, Segment)
    assert segment.flags == SYN
    assert segment.length == 1


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (IP(dst=SERVICE4, options=[IPOption_NOP()] * 4) / TCP(), Drop.OPTIONS),
        (IP(dst=SERVICE4, flags="MF") / TCP(), Drop.FRAGMENT),
        (IP(dst=SERVICE4, frag=8) / TCP(), Drop.FRAGMENT),
        (IPv6(dst=SERVICE6) / IPv6ExtHdrDestOpt() / TCP(), Drop.OPTIONS),
        (IPv6(dst=SERVICE6) / IPv6ExtHdrFragment() / TCP(), Drop.FRAGMENT),
        (IP(dst=SERVICE4, len=2000) / TCP(), Drop.MALFORMED),
        (IPv6(dst=SERVICE6, plen=2000) / TCP(), Drop.MALFORMED),
        (IP(dst=SERVICE4, ihl=4) / TCP(), Drop.MALFORMED),
        (IP(dst=SERVICE4) / TCP(dataofs=4), Drop.MALFORMED),
        (IP(dst=SERVICE4) / TCP(dataofs=15), Drop.MALFORMED),
        (IP(dst=SERVICE4, version=5) / TCP(), Drop.MALFORMED),
    ],
)
def test_what_is_not_a_plain_tcp_segment_is_dropped_with_its_reason(packet: Any, reason: Drop) -> None:
    assert parse(bytes(10) + bytes(packet)) is reason


@pytest.mark.parametrize(
    ("packet", "protocol"),
    [
        (IP(dst=SERVICE4) / TCP(), 6),
        (IP(dst=SERVICE4) / UDP(dport=53), 17),
        (IP(dst=SERVICE4, flags="MF") / UDP(dport=53), 17),
        (IP(dst=SERVICE4) / ICMP(), 1),
        (IPv6(dst=SERVICE6) / TCP(), 6),
        (IPv6(dst=SERVICE6) / UDP(dport=53), 17),
        (IPv6(dst=SERVICE6) / ICMPv6EchoRequest(), 58),
    ],
)
def test_the_protocol_of_a_packet(packet: Any, protocol: int) -> None:
    data = bytearray(bytes(10) + bytes(packet))
    assert protocol_of(data, len(data)) == protocol


@FAMILIES
def test_a_packet_cut_short_at_any_length_is_malformed(family: int) -> None:
    data = wire(tcp((own(family), 50000), (service(family), 80), "S", b"payload"))
    for length in range(len(data)):
        assert parse(data[:length]) is Drop.MALFORMED


def test_random_bytes_never_raise() -> None:
    chance = random.Random(2460)
    for _ in range(5000):
        data = bytearray(chance.randbytes(chance.randint(0, 120)))
        if len(data) > 20:
            data[10] = chance.choice([0x45, 0x46, 0x60, data[10]])
            data[19] = chance.choice([6, data[19]])
        parse(data)
