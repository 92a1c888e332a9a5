"""The dispatch: each protocol has its door, and what has none is counted and dropped."""

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

from ktpy.packet.dispatch import Dispatch
from ktpy.packet.flow_table import Answer, FlowTable, NewFlow
from ktpy.packet.headers import Drop
from tests.unit.packet.oracle import HAIRPIN4, HAIRPIN6, SERVICE4, SERVICE6, own, service, tcp, wire


@pytest.fixture
def table() -> FlowTable:
    return FlowTable([HAIRPIN4, HAIRPIN6])


def packed(packet: Any) -> bytearray:
    return bytearray(bytes(10) + bytes(packet))


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_goes_to_the_flow_table(table: FlowTable, family: int) -> None:
    data = wire(tcp((own(family), 50000), (service(family), 80), "S"))
    assert isinstance(Dispatch(table).receive(data, len(data)), NewFlow)


@pytest.mark.parametrize(
    "packet",
    [
        IP(dst=SERVICE4) / UDP(dport=53),
        IP(dst=SERVICE4) / ICMP(),
        IPv6(dst=SERVICE6) / UDP(dport=53),
        IPv6(dst=SERVICE6) / ICMPv6EchoRequest(),
    ],
)
def test_what_has_no_receiver_is_counted_and_dropped(table: FlowTable, packet: Any) -> None:
    data = packed(packet)
    assert Dispatch(table).receive(data, len(data)) is None
    assert table.counters.dropped[Drop.UNSUPPORTED] == 1


def test_another_protocol_has_a_door_of_its_own(table: FlowTable) -> None:
    def answer(buffer: bytearray, length: int) -> Answer:
        return Answer(bytes(buffer[:length]))

    data = packed(IP(dst=SERVICE4) / UDP(dport=53))
    assert Dispatch(table, {17: answer}).receive(data, len(data)) == Answer(bytes(data))
    assert table.counters.dropped[Drop.UNSUPPORTED] == 0


def test_a_malformed_packet_reaches_no_receiver(table: FlowTable) -> None:
    data = packed(IP(dst=SERVICE4, len=2000) / UDP(dport=53))
    assert Dispatch(table).receive(data, len(data)) is None
    assert table.counters.dropped[Drop.MALFORMED] == 1
