"""Datagrams that are refused, as scapy reads the answers; and those that must not be answered."""

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Raw

from ktpy.packet import udp
from ktpy.packet.dispatch import Dispatch
from ktpy.packet.flow_table import Answer, FlowTable
from ktpy.packet.headers import PROTOCOL_UDP, Drop
from ktpy.packet.udp import UdpRefusal
from tests.unit.packet.oracle import HAIRPIN4, HAIRPIN6, OWN4, PEER4, PEER6, own, parse, recomputed, service


class Refusing:
    def __init__(self) -> None:
        self.table = FlowTable([HAIRPIN4, HAIRPIN6])
        self.first: list[tuple[bytes, int]] = []
        self.refusal = UdpRefusal(self.table, lambda address, port: self.first.append((address, port)))

    def send(self, packet: Any, cut_bytes: int = 0) -> Any:
        """The answer as scapy reads it, None when there is none."""
        data = bytearray(bytes(10) + bytes(packet))
        answer = Dispatch(self.table, {PROTOCOL_UDP: self.refusal.receive}).receive(data, len(data) - cut_bytes)
        return parse(answer.packet) if isinstance(answer, Answer) else None

    def dropped(self, reason: Drop) -> int:
        return self.table.counters.dropped[reason]


@pytest.fixture
def refusing() -> Refusing:
    return Refusing()


def datagram(family: int, destination: str | None = None, **fields: Any) -> Any:
    layer = IP if family == 4 else IPv6
    fields = {"src": own(family), "dst": destination or service(family)} | fields
    return layer(**fields) / UDP(sport=5000, dport=5353) / Raw(b"x" * 40)


@pytest.mark.parametrize("family", [4, 6])
def test_a_datagram_is_refused_as_by_its_destination(refusing: Refusing, family: int) -> None:
    sent = datagram(family)
    answer = refusing.send(sent)
    assert (answer.src, answer.dst) == (service(family), own(family))
    assert bytes(answer) == recomputed(answer)
    kind = answer[ICMP] if family == 4 else answer[ICMPv6DestUnreach]
    assert (kind.type, kind.code) == ((3, 3) if family == 4 else (1, 4))
    assert bytes(answer).endswith(bytes(sent))
    assert refusing.table.counters.udp_refused == 1


def test_behind_options_too(refusing: Refusing) -> None:
    answer = refusing.send(datagram(4, options=b"\x01" * 4))
    assert answer[ICMP].code == 3
    assert refusing.first[0][1] == 5353


def test_a_first_fragment_is_refused(refusing: Refusing) -> None:
    assert refusing.send(datagram(4, flags="MF")) is not None


def test_the_first_one_is_told(refusing: Refusing) -> None:
    for family in (4, 6, 4):
        refusing.send(datagram(family))
    assert refusing.first == [(bytes([10, 96, 0, 10]), 5353)]


@pytest.mark.parametrize(
    "packet",
    [
        datagram(4, "224.0.0.251"),
        datagram(4, "255.255.255.255"),
        datagram(6, "ff02::fb"),
        datagram(4, PEER4),
        datagram(6, PEER6),
        datagram(4, OWN4[:-1] + "3"),
        datagram(4, src="0.0.0.0"),
        datagram(6, src="::"),
    ],
)
def test_what_is_for_many_or_for_the_interface_itself_is_not_answered(refusing: Refusing, packet: Any) -> None:
    assert refusing.send(packet) is None
    assert (refusing.dropped(Drop.UNSUPPORTED), refusing.first) == (1, [])


def test_an_address_of_240_is_one_host(refusing: Refusing) -> None:
    assert refusing.send(datagram(4, "240.0.0.10")) is not None


def test_a_later_fragment_is_not_answered(refusing: Refusing) -> None:
    assert refusing.send(datagram(4, frag=5)) is None
    assert refusing.dropped(Drop.FRAGMENT) == 1


@pytest.mark.parametrize("family", [4, 6])
def test_a_header_that_is_cut_is_malformed(refusing: Refusing, family: int) -> None:
    size: dict[str, Any] = {"len": 26} if family == 4 else {"plen": 6}
    assert refusing.send(datagram(family, **size), cut_bytes=42) is None
    assert refusing.dropped(Drop.MALFORMED) == 1


def test_answers_are_bounded_until_the_next_second(refusing: Refusing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "ANSWERS_PER_SECOND", 3)
    refusing.refusal.renew()
    assert [refusing.send(datagram(4)) is not None for _ in range(4)] == [True, True, True, False]
    refusing.refusal.renew()
    assert refusing.send(datagram(4)) is not None
