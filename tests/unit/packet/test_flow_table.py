"""The flow table as a playbook: packets in, verdicts out, scapy as the judge of the bytes."""

import random
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP

from ktpy.packet.dispatch import Dispatch
from ktpy.packet.flow import Flow, State
from ktpy.packet.flow_table import Answer, FlowTable, NewFlow
from ktpy.packet.headers import Drop
from tests.unit.packet.oracle import (
    ACCEPTOR_PORT,
    HAIRPIN4,
    HAIRPIN6,
    SERVICE4,
    completed,
    own,
    parse,
    peer,
    recomputed,
    service,
    tcp,
    wire,
)

FAMILIES = pytest.mark.parametrize("family", [4, 6])
PARTIAL = pytest.mark.parametrize("partial", [True, False], ids=["needs_csum", "finished"])
APP_PORT = 50000
REWRITTEN, DROPPED = True, None


@pytest.fixture
def table() -> FlowTable:
    return FlowTable([HAIRPIN4, HAIRPIN6], linger_s=2, quiet_s=100)


def feed(table: FlowTable, data: bytearray) -> NewFlow | Answer | bool | None:
    """Do as the pump does with a packet that it has read."""
    return table.rewrite(data, len(data)) or Dispatch(table).receive(data, len(data))


def from_app(family: int, flags: str = "A", payload: bytes = b"", sport: int = APP_PORT, **fields: Any) -> Any:
    return tcp((own(family), sport), (service(family), 80), flags, payload, **fields)


def from_acceptor(family: int, flow: Flow, flags: str = "A", payload: bytes = b"", **fields: Any) -> Any:
    return tcp((own(family), ACCEPTOR_PORT), (peer(family), flow.port), flags, payload, **fields)


def dialled(table: FlowTable, family: int, sport: int = APP_PORT) -> Flow:
    event = feed(table, wire(from_app(family, "S", sport=sport)))
    assert isinstance(event, NewFlow)
    return event.flow


def opened(table: FlowTable, family: int, sport: int = APP_PORT) -> Flow:
    flow = dialled(table, family, sport)
    table.admit(flow)
    return flow


def finish(table: FlowTable, family: int, flow: Flow) -> None:
    assert feed(table, wire(from_app(family, "FA"))) is REWRITTEN
    assert feed(table, wire(from_acceptor(family, flow, "FA"))) is REWRITTEN


# --- rewriting


@PARTIAL
@FAMILIES
def test_an_apps_packet_goes_to_the_acceptor(table: FlowTable, family: int, partial: bool) -> None:
    flow = opened(table, family)
    data = wire(from_app(family, "PA", b"hello"), partial=partial)
    assert feed(table, data) is REWRITTEN
    packet = parse(data)
    assert (packet.src, packet[TCP].sport) == (peer(family), flow.port)
    assert (packet.dst, packet[TCP].dport) == (own(family), ACCEPTOR_PORT)
    assert bytes(packet[TCP].payload) == b"hello"


@PARTIAL
@FAMILIES
def test_the_acceptors_packet_goes_to_the_app(table: FlowTable, family: int, partial: bool) -> None:
    flow = opened(table, family)
    data = wire(from_acceptor(family, flow, "PA", b"hello"), partial=partial)
    assert feed(table, data) is REWRITTEN
    packet = parse(data)
    assert (packet.src, packet[TCP].sport) == (service(family), 80)
    assert (packet.dst, packet[TCP].dport) == (own(family), APP_PORT)


@PARTIAL
@FAMILIES
def test_random_packets_have_the_checksums_scapy_computes(table: FlowTable, family: int, partial: bool) -> None:
    chance = random.Random(family)
    ports = [opened(table, family, sport) for sport in (1, 1024, 40000, 65535)]
    for turn in range(100):
        flow = ports[turn % len(ports)]
        sport = int.from_bytes(flow.key[-4:-2], "big")
        fields = {"seq": chance.getrandbits(32), "ack": chance.getrandbits(32), "window": chance.getrandbits(16)}
        payload = chance.randbytes(chance.randint(0, 1500))
        if turn % 2:
            packet = from_app(family, "PA", payload, sport=sport, **fields)
        else:
            packet = from_acceptor(family, flow, "PA", payload, **fields)
        if family == 4:
            packet[IP].id, packet[IP].tos = chance.getrandbits(16), chance.getrandbits(8)
        data = wire(packet, partial=partial)
        assert feed(table, data) is REWRITTEN
        assert completed(data) == recomputed(parse(data))


@FAMILIES
def test_the_segmentation_fields_are_kept(table: FlowTable, family: int) -> None:
    opened(table, family)
    gso_type = 1 if family == 4 else 4  # VIRTIO_NET_HDR_GSO_TCPV4, ..._TCPV6
    data = wire(from_app(family, "PA", bytes(60000)), partial=True, gso=(gso_type, 1448))
    header = bytes(data[:10])
    assert feed(table, data) is REWRITTEN
    assert data[:10] == header
    assert completed(data) == recomputed(parse(data))


@FAMILIES
def test_what_lies_in_the_buffer_behind_the_packet_is_not_touched(table: FlowTable, family: int) -> None:
    opened(table, family)
    data = wire(from_app(family))
    length = len(data)
    data += b"old packet"
    assert table.rewrite(data, length)
    assert data[length:] == b"old packet"


# --- the held SYN


@FAMILIES
def test_a_first_syn_is_held_and_names_the_destination(table: FlowTable, family: int) -> None:
    flow = dialled(table, family)
    assert flow.destination == (service(family), 80)
    assert flow.state is State.DIALLING


@FAMILIES
def test_retransmissions_of_a_held_syn_are_dropped(table: FlowTable, family: int) -> None:
    dialled(table, family)
    for _ in range(3):
        assert feed(table, wire(from_app(family, "S"))) is DROPPED
    assert table.counters.dropped[Drop.HELD] == 3
    assert table.counters.flows == 1


@PARTIAL
@FAMILIES
def test_an_admitted_syn_goes_to_the_acceptor(table: FlowTable, family: int, partial: bool) -> None:
    event = feed(table, wire(from_app(family, "S", seq=42), partial=partial))
    assert isinstance(event, NewFlow)
    data = table.admit(event.flow)
    packet = parse(data)
    assert (packet.dst, packet[TCP].dport) == (own(family), ACCEPTOR_PORT)
    assert (packet[TCP].flags, packet[TCP].seq) == ("S", 42)
    assert completed(data) == recomputed(packet)


def test_the_latest_copy_of_a_held_syn_is_admitted(table: FlowTable) -> None:
    flow = dialled(table, 4)
    feed(table, wire(from_app(4, "S", options=[("Timestamp", (3000, 0))])))
    assert dict(parse(table.admit(flow))[TCP].options)["Timestamp"] == (3000, 0)


@FAMILIES
def test_a_refused_flow_is_answered_with_a_reset_and_forgotten(table: FlowTable, family: int) -> None:
    packet = parse(table.refuse(dialled(table, family)))
    assert packet[TCP].flags == "RA"
    assert packet[TCP].ack == 1
    assert len(table) == 0
    assert table.counters.refused == 1


@FAMILIES
def test_an_unreachable_flow_is_answered_by_the_stand_in_peer_and_forgotten(table: FlowTable, family: int) -> None:
    packet = parse(table.unreachable(dialled(table, family)))
    assert (packet.src, packet.dst) == (peer(family), own(family))
    assert len(table) == 0
    assert table.counters.unreachable == 1


def test_a_refused_app_may_try_again(table: FlowTable) -> None:
    table.refuse(dialled(table, 4))
    assert dialled(table, 4).state is State.DIALLING


def test_a_verdict_on_a_flow_that_has_one_is_a_mistake(table: FlowTable) -> None:
    flow = opened(table, 4)
    with pytest.raises(ValueError, match="cannot become"):
        table.admit(flow)


# --- what belongs to no flow


@FAMILIES
def test_a_stray_packet_is_answered_with_a_reset(table: FlowTable, family: int) -> None:
    event = feed(table, wire(from_app(family, "PA", b"x", ack=99)))
    assert isinstance(event, Answer)
    assert parse(event.packet)[TCP].seq == 99
    assert table.counters.stray == 1


@FAMILIES
def test_a_stray_reset_is_never_answered(table: FlowTable, family: int) -> None:
    assert feed(table, wire(from_app(family, "R"))) is DROPPED
    assert table.counters.dropped[Drop.STRAY_RESET] == 1


@FAMILIES
def test_the_stand_in_peer_is_no_destination(table: FlowTable, family: int) -> None:
    event = feed(table, wire(tcp((own(family), 5), (peer(family), 80), "S")))
    assert isinstance(event, Answer)
    assert parse(event.packet)[TCP].flags == "RA"
    assert len(table) == 0


def test_a_family_without_a_hairpin_is_refused() -> None:
    event = feed(FlowTable([HAIRPIN4]), wire(from_app(6, "S")))
    assert isinstance(event, Answer)


def test_udp_on_the_4_tuple_of_an_open_flow_is_not_rewritten(table: FlowTable) -> None:
    opened(table, 4)
    data = bytearray(10) + bytes(IP(src=own(4), dst=SERVICE4) / UDP(sport=APP_PORT, dport=80) / bytes(40))
    before = bytes(data)
    assert feed(table, data) is DROPPED
    assert data == before
    assert table.counters.dropped[Drop.UNSUPPORTED] == 1


def test_a_fragment_of_an_open_flow_is_not_rewritten(table: FlowTable) -> None:
    opened(table, 4)
    packet = from_app(4, "A", bytes(40))
    packet[IP].frag = 100
    assert feed(table, wire(packet)) is DROPPED
    assert table.counters.dropped[Drop.FRAGMENT] == 1


@FAMILIES
def test_a_packet_cut_short_at_any_length_never_raises(table: FlowTable, family: int) -> None:
    opened(table, family)
    data = wire(from_app(family, "PA", b"payload"))
    for length in range(len(data)):
        feed(table, bytearray(data[:length]))
    least = 10 + (20 if family == 4 else 40) + 20
    assert table.counters.dropped[Drop.MALFORMED] == least


def test_random_bytes_never_raise(table: FlowTable) -> None:
    chance = random.Random(791)
    for _ in range(5000):
        data = bytearray(chance.randbytes(chance.randint(0, 100)))
        if len(data) > 20:
            data[10] = chance.choice([0x45, 0x60, data[10]])
        feed(table, data)


# --- the end of a flow


@FAMILIES
def test_a_finished_flow_lingers_for_late_retransmissions_and_is_forgotten(table: FlowTable, family: int) -> None:
    flow = opened(table, family)
    finish(table, family, flow)
    table.release(flow, 10.0)
    table.expire(10.5)
    assert feed(table, wire(from_app(family, "FA"))) is REWRITTEN
    table.expire(11.0)
    table.expire(12.9)
    assert len(table) == 1
    table.expire(13.0)
    assert len(table) == 0
    assert isinstance(feed(table, wire(from_app(family))), Answer)


def test_an_unfinished_flow_stays_while_the_kernel_still_delivers(table: FlowTable) -> None:
    flow = opened(table, 4)
    table.release(flow, 0.0)
    for now_s in range(50, 1000, 50):
        assert feed(table, wire(from_app(4))) is REWRITTEN
        table.expire(float(now_s))
    assert len(table) == 1
    table.expire(1049.0)
    assert len(table) == 1
    table.expire(1050.0)
    assert len(table) == 0


@FAMILIES
def test_a_new_connection_on_the_4_tuple_of_a_finished_flow_is_dialled_anew(table: FlowTable, family: int) -> None:
    old = opened(table, family)
    finish(table, family, old)
    new = opened(table, family)
    assert new is not old
    table.release(old, 0.0)
    table.expire(0.1)
    table.expire(5.0)
    assert len(table) == 1
    data = wire(from_app(family))
    assert feed(table, data) is REWRITTEN
    assert parse(data)[TCP].sport == new.port


@FAMILIES
def test_a_syn_in_the_acceptors_direction_of_a_finished_flow_is_a_stray_and_takes_nothing_away(
    table: FlowTable, family: int
) -> None:
    finished = opened(table, family)
    finish(table, family, finished)
    newer = opened(table, family)
    for _ in range(2):
        assert isinstance(feed(table, wire(from_acceptor(family, finished, "S"))), Answer)
    assert table.counters.stray == 2
    assert feed(table, wire(from_app(family, "PA", b"x"))) is REWRITTEN
    table.forget(finished)
    table.forget(newer)


def test_a_syn_of_an_unfinished_flow_is_a_retransmission(table: FlowTable) -> None:
    opened(table, 4)
    assert feed(table, wire(from_app(4, "S"))) is REWRITTEN
    assert table.counters.flows == 1


@FAMILIES
def test_a_reset_is_passed_on_and_told_once(table: FlowTable, family: int) -> None:
    flow = opened(table, family)
    assert feed(table, wire(from_app(family, "R"))) is REWRITTEN
    assert table.take_resets() == [flow]
    assert table.take_resets() == []


def test_a_reset_of_a_released_flow_is_not_told(table: FlowTable) -> None:
    flow = opened(table, 4)
    table.release(flow, 0.0)
    feed(table, wire(from_app(4, "R")))
    assert table.take_resets() == []


@pytest.mark.parametrize("stage", ["dialling", "open", "closing"])
def test_forget_leaves_nothing_behind(table: FlowTable, stage: str) -> None:
    flow = dialled(table, 4)
    if stage != "dialling":
        table.admit(flow)
    if stage == "closing":
        table.release(flow, 0.0)
    table.forget(flow)
    assert len(table) == 0
    assert flow.state is State.CLOSED
    assert isinstance(feed(table, wire(from_app(4))), Answer)
    assert isinstance(feed(table, wire(from_app(4, "S"))), NewFlow)


# --- ports and the cap


def test_a_port_comes_back_only_after_all_others() -> None:
    table = FlowTable([HAIRPIN4], ports=range(1024, 1034))
    seen = []
    for sport in range(1, 26):
        flow = dialled(table, 4, sport)
        seen.append(flow.port)
        table.refuse(flow)
    assert seen == [*range(1024, 1034), *range(1024, 1034), *range(1024, 1029)]


def test_the_families_share_the_ports(table: FlowTable) -> None:
    assert dialled(table, 4).port != dialled(table, 6).port


@FAMILIES
def test_a_full_table_refuses_and_takes_again_when_there_is_room(family: int) -> None:
    table = FlowTable([HAIRPIN4, HAIRPIN6], max_flows=2)
    first = dialled(table, family, 1)
    dialled(table, family, 2)
    event = feed(table, wire(from_app(family, "S", sport=3)))
    assert isinstance(event, Answer)
    assert parse(event.packet)[TCP].flags == "RA"
    assert table.counters.full == 1
    table.forget(first)
    assert isinstance(feed(table, wire(from_app(family, "S", sport=3))), NewFlow)


# --- the bypass


class Recorded:
    """A bypass that tells who is in it."""

    def __init__(self, *, takes: bool = True) -> None:
        self.flows: set[Flow] = set()
        self.takes = takes

    def enter(self, flow: Flow) -> bool:
        self.flows.add(flow)
        return self.takes

    def leave(self, flow: Flow) -> None:
        self.flows.discard(flow)


@pytest.mark.parametrize("takes", [True, False])
@FAMILIES
def test_a_flow_is_in_the_bypass_from_its_answer_until_the_relay_lets_go(family: int, takes: bool) -> None:
    bypass = Recorded(takes=takes)
    table = FlowTable([HAIRPIN4, HAIRPIN6], bypass=bypass)
    flow = dialled(table, family)
    assert bypass.flows == set()
    table.admit(flow)
    assert bypass.flows == {flow}
    assert table.counters.bypassing == takes
    table.release(flow, now_s=0)
    assert bypass.flows == set(), "what is still delivered keeps the flow from being forgotten"


def test_a_flow_that_never_opened_is_not_in_the_bypass() -> None:
    bypass = Recorded()
    table = FlowTable([HAIRPIN4, HAIRPIN6], bypass=bypass)
    table.refuse(dialled(table, 4))
    table.unreachable(dialled(table, 6))
    assert bypass.flows == set()


@FAMILIES
def test_a_finished_flow_leaves_the_bypass_to_a_new_one_with_its_addresses(family: int) -> None:
    bypass = Recorded()
    table = FlowTable([HAIRPIN4, HAIRPIN6], bypass=bypass)
    flow = opened(table, family)
    finish(table, family, flow)
    assert bypass.flows == {flow}
    again = dialled(table, family)
    assert bypass.flows == set(), "the kernel would lead the new one to the old one's end"
    table.admit(again)
    assert bypass.flows == {again}
    table.release(flow, now_s=0)
    table.expire(1000)
    assert bypass.flows == {again}
