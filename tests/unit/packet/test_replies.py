"""Resets and ICMP errors as scapy reads them."""

import pytest
from scapy.layers.inet import ICMP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach

from ktpy.packet.headers import PLAIN_VNET_HEADER, Segment, parse_segment
from ktpy.packet.replies import reset, unreachable
from tests.unit.packet.oracle import HAIRPIN4, HAIRPIN6, own, parse, peer, recomputed, service, tcp, wire

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def answered(family: int, flags: str, payload: bytes = b"", **fields: int) -> bytes:
    data = wire(tcp((own(family), 50000), (service(family), 80), flags, payload, **fields))
    segment = parse_segment(data)
    assert isinstance(segment, Segment)
    return reset(segment)


@FAMILIES
def test_a_reset_of_a_syn_acknowledges_it(family: int) -> None:
    packet = parse(answered(family, "S", seq=0xFFFFFFFF))
    assert (packet.src, packet.dst) == (service(family), own(family))
    assert (packet[TCP].sport, packet[TCP].dport) == (80, 50000)
    assert packet[TCP].flags == "RA"
    assert packet[TCP].ack == 0  # the sequence number wraps round
    assert packet[TCP].seq == 0


@FAMILIES
def test_a_reset_of_a_segment_with_ack_takes_its_place_in_the_sequence(family: int) -> None:
    packet = parse(answered(family, "PA", b"data", seq=5, ack=77))
    assert packet[TCP].flags == "R"
    assert packet[TCP].seq == 77


@FAMILIES
def test_a_reset_of_a_syn_with_data_acknowledges_both(family: int) -> None:
    assert parse(answered(family, "S", b"data", seq=5))[TCP].ack == 10


@FAMILIES
def test_the_checksums_of_a_reset_are_scapys(family: int) -> None:
    data = answered(family, "S", seq=123456)
    assert data.startswith(PLAIN_VNET_HEADER)
    assert data[10:] == recomputed(parse(data))


@pytest.mark.parametrize("payload", [b"", b"x", b"xy", b"x" * 3000])
@FAMILIES
def test_an_unreachable_quotes_the_packet_and_its_checksums_are_scapys(family: int, payload: bytes) -> None:
    syn = bytes(wire(tcp((own(family), 50000), (service(family), 80), "S", payload, seq=9)))
    data = unreachable((HAIRPIN4 if family == 4 else HAIRPIN6).peer, syn)
    packet = parse(data)
    assert (packet.src, packet.dst) == (peer(family), own(family))
    assert bytes(packet) == recomputed(packet)
    if family == 4:
        assert (packet[ICMP].type, packet[ICMP].code) == (3, 1)
        assert len(packet) <= 576
    else:
        assert (packet[ICMPv6DestUnreach].type, packet[ICMPv6DestUnreach].code) == (1, 3)
        assert len(packet) <= 1280
    quoted = data[10 + (20 if family == 4 else 40) + 8 :]
    assert syn[10:].startswith(quoted)
    assert len(quoted) >= min(len(syn) - 10, 500)
