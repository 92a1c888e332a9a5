"""Reassembly of what scapy has fragmented."""

import random
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.packet import Raw

from ktpy.packet import fragments
from ktpy.packet.fragments import MAX_AGE, Reassembly, is_fragment
from ktpy.packet.udp import parse_datagram
from tests.unit.packet.oracle import own, service, tcp


def pieces(family: int, size: int, identification: int = 9) -> list[bytearray]:
    payload = random.Random(size).randbytes(size)
    if family == 4:
        packet = IP(src=own(4), dst=service(4), id=identification) / UDP(sport=1, dport=2) / Raw(payload)
        found = fragment(packet, 1480)
    else:
        header = IPv6(src=own(6), dst=service(6)) / IPv6ExtHdrFragment(id=identification)
        found = fragment6(header / UDP(sport=1, dport=2) / Raw(payload), 1500)
    return [bytearray(bytes(10) + bytes(piece)) for piece in found]


def add_all(reassembly: Reassembly, packets: list[bytearray]) -> list[bytearray]:
    found = [reassembly.add(packet, len(packet)) for packet in packets]
    return [whole for whole in found if whole is not None]


def payload_of(packet: bytearray) -> bytes:
    datagram: Any = parse_datagram(packet, len(packet))
    return bytes(datagram.payload)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [1500, 9000, 65500])
@pytest.mark.parametrize("order", [1, -1])
def test_a_datagram_in_pieces(family: int, size: int, order: int) -> None:
    reassembly, packets = Reassembly(), pieces(family, size)
    assert all(is_fragment(packet, len(packet)) for packet in packets)
    [whole] = add_all(reassembly, packets[::order])
    assert not is_fragment(whole, len(whole))
    assert payload_of(whole) == random.Random(size).randbytes(size)
    assert len(reassembly) == reassembly.given_up == 0


@pytest.mark.parametrize("family", [4, 6])
def test_two_at_once(family: int) -> None:
    one, two = pieces(family, 3000, 1), pieces(family, 3500, 2)
    found = add_all(Reassembly(), [two[0], one[0], one[1], two[1], one[2], two[2]])
    assert [len(payload_of(packet)) for packet in found] == [3000, 3500]


@pytest.mark.parametrize("family", [4, 6])
def test_a_piece_that_comes_twice_voids_the_packet(family: int) -> None:
    reassembly, packets = Reassembly(), pieces(family, 3000)
    assert add_all(reassembly, [packets[0], packets[0]]) == []
    assert reassembly.given_up == 1


def test_a_hole_that_an_overlap_hides() -> None:
    reassembly, (first, middle, last) = Reassembly(), pieces(4, 4400)[:3]
    middle[16:18] = (0x2000 | 8).to_bytes(2, "big")  # it begins 64 bytes into the first one
    last[16:18] = (2 * 1480 // 8).to_bytes(2, "big")
    assert add_all(reassembly, [first, middle, last]) == []
    assert (len(reassembly), reassembly.given_up) == (0, 1)


def test_a_piece_beyond_the_largest_packet() -> None:
    reassembly, packets = Reassembly(), pieces(4, 3000)
    packets[1][16:18] = (0x2000 | 0x1FFF).to_bytes(2, "big")
    assert add_all(reassembly, packets[:2]) == []
    assert (len(reassembly), reassembly.given_up) == (0, 1)


def test_what_never_becomes_whole_is_given_up() -> None:
    reassembly = Reassembly()
    add_all(reassembly, pieces(4, 3000)[:1])
    for _ in range(MAX_AGE):
        reassembly.expire()
    assert len(reassembly) == 1
    reassembly.expire()
    assert (len(reassembly), reassembly.given_up) == (0, 1)


def test_the_oldest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "MAX_PACKETS", 2)
    reassembly, packets = Reassembly(), [pieces(4, 1600, number) for number in range(3)]
    add_all(reassembly, [packet[0] for packet in packets])
    assert add_all(reassembly, [packets[1][1], packets[2][1]]) != []
    assert add_all(reassembly, [packets[0][1]]) == []


def test_tcp_is_none() -> None:
    packets = fragment(tcp((own(4), 1), (service(4), 2), payload=b"x" * 3000), 1480)
    assert not any(is_fragment(bytearray(bytes(10) + bytes(packet)), 1510) for packet in packets)


@pytest.fixture(scope="module")
def many_pieces() -> list[bytearray]:
    return [piece for family in (4, 6) for size in range(1500, 3000, 145) for piece in pieces(family, size)]


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes(many_pieces: list[bytearray], seed: int) -> None:
    source, reassembly = random.Random(seed), Reassembly()
    for _ in range(300):
        packet = bytearray(source.choice(many_pieces))
        for _ in range(source.randint(0, 4)):
            packet[source.randrange(10, min(60, len(packet)))] = source.randrange(256)
        length = source.randint(11, len(packet))
        if is_fragment(packet, length):
            reassembly.add(packet, length)
    assert len(reassembly) <= fragments.MAX_PACKETS
