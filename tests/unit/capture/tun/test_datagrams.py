"""Packets of programs become frames, and frames become packets, as scapy reads them."""

import random
import struct
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP, ICMPerror, IPerror, UDPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPerror6, IPv6
from scapy.packet import Raw

from ktpy.capture.tun.datagrams import Datagrams
from ktpy.observe.counters import numbers
from ktpy.packet.datagram_flows import IDLE_S
from ktpy.packet.dispatch import Dispatch
from ktpy.packet.flow_table import Answer, FlowTable, NewFlow
from ktpy.packet.fragments import Reassembly
from ktpy.packet.headers import Drop
from ktpy.packet.stand_ins import StandIns
from ktpy.packet.udp import ANSWERS_PER_SECOND
from ktpy.wire.datagram import (
    BEAT,
    DATAGRAM,
    ECHO,
    FAILED,
    FORGET,
    NOWHERE,
    Failure,
    Frame,
    FrameParser,
    beat,
    mapped,
)
from tests.unit.packet.oracle import HAIRPIN4, HAIRPIN6, completed, own, parse, peer, recomputed, service


class Way:
    """What has been sent, while it is up and has room."""

    def __init__(self) -> None:
        self.is_up = self.has_room = True
        self.frames: list[Frame] = []

    def send(self, frames: bytes) -> bool:
        if self.has_room:
            self.frames += FrameParser().feed(frames)
        return self.has_room


class World:
    def __init__(self, max_flows: int = 100, stand_ins: StandIns | None = None) -> None:
        self.table = FlowTable([HAIRPIN4, HAIRPIN6])
        self.way = Way()
        self.written: list[bytes] = []
        self.datagrams = Datagrams(self.table, self.way, self.written.append, stand_ins, max_flows=max_flows)
        self.dispatch = Dispatch(self.table, self.datagrams.receivers, Reassembly())

    def send(self, *packets: Any) -> list[Any]:
        """Frames that come of the packets, and answers to them as scapy reads them."""
        answers = [self.receive(bytearray(bytes(10) + bytes(packet))) for packet in packets]
        self.datagrams.flush()
        found, self.way.frames = self.way.frames, []
        return [*found, *(parse(answer.packet) for answer in answers if answer)]

    def receive(self, data: bytearray) -> Answer | None:
        answer = self.dispatch.receive(data, len(data))
        assert answer is None or isinstance(answer, Answer)
        return answer

    def deliver(self, *frames: Frame) -> list[Any]:
        self.datagrams.deliver(frames)
        found, self.written[:] = self.written[:], []
        return [parse(bytes(10) + completed(packet)) for packet in found]

    @property
    def numbers(self) -> dict[str, int]:
        return {name: number for name, number in numbers(self.datagrams.counters).items() if number}


@pytest.fixture
def world() -> World:
    return World()


families = pytest.mark.parametrize("family", [4, 6])


def udp(family: int, payload: bytes = b"hello", source_port: int = 5000, to: str | None = None, **fields: Any) -> Any:
    layer = IP if family == 4 else IPv6
    header = layer(src=own(family), dst=to or service(family), **fields)
    return header / UDP(sport=source_port, dport=53) / Raw(payload)


def ping(family: int, sequence: int = 3) -> Any:
    if family == 4:
        return IP(src=own(4), dst=service(4)) / ICMP(id=7, seq=sequence) / Raw(b"x" * 56)
    return IPv6(src=own(6), dst=service(6)) / ICMPv6EchoRequest(id=7, seq=sequence, data=b"x" * 56)


def target(family: int) -> bytes:
    return mapped(ip_address(service(family)).packed)


def frame(family: int, payload: bytes = b"hello", flow: int = 1) -> Frame:
    return Frame(DATAGRAM, flow, 53, target(family), payload)


def errors(packets: Iterable[Any]) -> list[tuple[str, int, int]]:
    found = []
    for packet in packets:
        kind = packet[ICMP] if IP in packet else packet.payload
        found.append((packet.src, kind.type, kind.code))
    return found


@families
def test_a_datagram_goes_and_its_answer_comes(world: World, family: int) -> None:
    assert world.send(udp(family)) == [frame(family)]
    [answer] = world.deliver(frame(family, b"and good-bye"))
    assert (answer.src, answer.dst, answer[UDP].sport, answer[UDP].dport) == (service(family), own(family), 53, 5000)
    assert bytes(answer) == recomputed(answer)
    assert bytes(answer[UDP].payload) == b"and good-bye"
    assert world.datagrams.open_flows == 1
    assert world.numbers == {
        "flows": 1,
        "sent": 1,
        "sent_bytes": 5,
        "received": 1,
        "received_bytes": 12,
    }


@families
@pytest.mark.parametrize("size", [0, 1, 1472, 65507])
def test_of_every_size(world: World, family: int, size: int) -> None:
    for _ in range(2):  # the first of a flow, and a later one
        assert world.send(udp(family, bytes(size))) == [frame(family, bytes(size))]
    assert bytes(world.deliver(frame(family, bytes(size)))[0][UDP].payload) == bytes(size)


@families
def test_a_flow_is_a_programs_socket(world: World, family: int) -> None:
    other = {4: "10.96.0.11", 6: "fd96::11"}[family]
    frames = world.send(udp(family), udp(family, source_port=5001), udp(family, to=other))
    assert [found.flow for found in frames] == [1, 2, 1]
    assert frames[2].address == mapped(ip_address(other).packed)


@families
def test_an_answer_from_another_host(world: World, family: int) -> None:
    world.send(udp(family))
    other = {4: "10.96.0.12", 6: "fd96::12"}[family]
    [answer] = world.deliver(Frame(DATAGRAM, 1, 9999, mapped(ip_address(other).packed), b"x"))
    assert (answer.src, answer[UDP].sport) == (other, 9999)


def test_a_program_sends_after_ip_options(world: World) -> None:
    packet = udp(4, options=b"\x01" * 4)
    assert world.send(packet, packet) == [frame(4), frame(4)]


def test_a_bundle_is_taken_apart(world: World) -> None:
    world.send(udp(4))
    payload = bytes(range(250))
    data = bytearray(struct.pack("=BBHHHH", 1, 5, 28, 100, 20, 6) + bytes(udp(4, payload)))
    world.receive(data)
    world.datagrams.flush()
    assert [found.payload for found in world.way.frames] == [payload[:100], payload[100:200], payload[200:]]
    assert world.datagrams.counters.sent == 4


def test_the_first_of_a_flow_may_be_a_bundle(world: World) -> None:
    world.receive(bytearray(struct.pack("=BBHHHH", 1, 5, 48, 3, 40, 6) + bytes(udp(6, b"abcde"))))
    world.datagrams.flush()
    assert [found.payload for found in world.way.frames] == [b"abc", b"de"]


@families
def test_a_ping_goes_and_its_reply_comes(world: World, family: int) -> None:
    [found] = world.send(ping(family))
    assert found == Frame(ECHO, 1, 3, target(family), b"x" * 56)
    [reply] = world.deliver(found)
    layer = reply[ICMP] if family == 4 else reply[ICMPv6EchoReply]
    assert (reply.src, reply.dst) == (service(family), own(family))
    assert (layer.type, layer.id, layer.seq) == (0 if family == 4 else 129, 7, 3)


@families
def test_a_failure_of_the_pod_becomes_an_error_at_the_program(world: World, family: int) -> None:
    sent = udp(family)
    world.send(sent)
    failure = Failure(*((3, 3) if family == 4 else (1, 4)), NOWHERE)
    [error] = world.deliver(frame(family, failure.encoded())._replace(kind=FAILED))
    assert errors([error]) == [(service(family), failure.type, failure.code)]
    assert bytes(error) == recomputed(error)
    quoted = error[UDPerror] if family == 4 else error[ICMPv6DestUnreach].payload[UDPerror]
    assert (quoted.sport, quoted.dport) == (5000, 53)


def test_a_failure_of_a_ping_names_the_router(world: World) -> None:
    world.send(ping(4))
    failure = Failure(3, 1, mapped(ip_address("10.9.9.9").packed))
    [error] = world.deliver(Frame(FAILED, 1, 3, target(4), failure.encoded()))
    assert errors([error]) == [("10.9.9.9", 3, 1)]
    assert (error[ICMPerror].id, error[ICMPerror].seq) == (7, 3)


@pytest.mark.parametrize(
    "failure",
    [Failure(3, 3, target(6)), Failure(5, 0, NOWHERE), Failure(3, 3, NOWHERE)],
    ids=["router", "type", "host"],
)
def test_what_a_host_would_not_tell_is_not_passed_on(world: World, failure: Failure) -> None:
    world.send(udp(4))
    address = target(6) if failure == Failure(3, 3, NOWHERE) else target(4)
    assert world.deliver(Frame(FAILED, 1, 53, address, failure.encoded())) == []


def test_what_is_no_failure(world: World) -> None:
    world.send(udp(4))
    with pytest.raises(ValueError, match="a failure has 18 bytes"):
        world.deliver(Frame(FAILED, 1, 53, target(4), b"x"))


def test_an_answer_that_no_datagram_can_hold(world: World) -> None:
    world.send(udp(4))
    with pytest.raises(ValueError, match="65508 bytes"):
        world.deliver(frame(4, bytes(65508)))


@families
def test_without_a_connection_all_is_unreachable(world: World, family: int) -> None:
    world.send(udp(family))
    world.way.is_up = False
    answers = world.send(udp(family), udp(family, source_port=5001), ping(family))
    assert errors(answers) == [(service(family), *((3, 1) if family == 4 else (1, 3)))] * 3
    assert world.datagrams.counters.unreachable == 3


def test_a_full_tunnel_loses_datagrams(world: World) -> None:
    world.way.has_room = False
    assert world.send(udp(4), udp(4)) == []
    assert (world.datagrams.counters.lost, world.datagrams.counters.sent) == (2, 0)


@families
def test_a_flow_too_many_is_prohibited(family: int) -> None:
    world = World(max_flows=1)
    world.send(udp(family))
    answers = world.send(udp(family, source_port=5001), ping(family))
    assert errors(answers) == [(service(family), *((3, 13) if family == 4 else (1, 1)))] * 2
    assert world.numbers["full"] == 2
    assert world.send(udp(family)) == [frame(family)]


def test_no_more_errors_than_a_host_sends(world: World) -> None:
    world.way.is_up = False
    packet = bytes(10) + bytes(udp(4))
    answers = [world.receive(bytearray(packet)) for _ in range(ANSWERS_PER_SECOND + 1)]
    assert [answer is None for answer in answers] == [False] * ANSWERS_PER_SECOND + [True]
    world.datagrams.tick(1.0)
    assert len(world.send(udp(4))) == 1


def test_an_idle_flow_is_forgotten_here_and_in_the_pod(world: World) -> None:
    world.send(udp(4))
    world.datagrams.tick(100.0)
    world.datagrams.tick(100.0 + IDLE_S)
    assert world.way.frames == [Frame(FORGET, 1, 0, NOWHERE, b"")]
    assert world.deliver(frame(4)) == []
    assert world.datagrams.counters.late == 1


def test_what_the_pod_lost_is_counted_over_connections(world: World) -> None:
    for count in (3, 5, 2):  # the last is another agent's
        world.datagrams.deliver(FrameParser().feed(beat(count)))
    assert world.datagrams.counters.lost_in_pod == 7


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (udp(4, to="224.0.0.251"), Drop.UNSUPPORTED),
        (udp(4, to="255.255.255.255"), Drop.UNSUPPORTED),
        (udp(6, to="ff02::fb"), Drop.UNSUPPORTED),
        (udp(4, to=peer(4)), Drop.UNSUPPORTED),
        (udp(6, to=peer(6)), Drop.UNSUPPORTED),
        (IP(src=own(4), dst=service(4)) / ICMP(type=3, code=3), Drop.UNSUPPORTED),
        (IP(src=own(4), dst=service(4), proto=17) / Raw(b"x" * 7), Drop.MALFORMED),
    ],
)
def test_what_is_not_carried(world: World, packet: Any, reason: Drop) -> None:
    assert world.send(packet) == []
    assert world.table.counters.dropped[reason] == 1


@pytest.mark.parametrize("seed", range(10))
def test_any_bytes(world: World, seed: int) -> None:
    source = random.Random(seed)
    packets = [bytes(10) + bytes(packet) for packet in (udp(4), udp(6), ping(4), ping(6))]
    for _ in range(500):
        packet = bytearray(source.choice(packets))
        for _ in range(source.randint(0, 5)):
            packet[source.randrange(len(packet))] = source.randrange(256)
        length = source.randint(0, len(packet))
        answer = world.dispatch.receive(packet, length)
        assert answer is None or isinstance(answer, (Answer, NewFlow))
    world.datagrams.flush()


@pytest.mark.parametrize("kind", [BEAT + 1, ECHO, 0])
def test_frames_that_do_not_fit_their_flow_are_passed_over(world: World, kind: int) -> None:
    world.send(udp(4))
    assert world.deliver(frame(4)._replace(kind=kind), frame(6)) == []


@families
def test_the_agent_hears_of_no_stand_in_and_the_program_of_nothing_else(family: int) -> None:
    stand_ins, seen = StandIns(), {4: "240.0.0.10", 6: "fd6b:7472::10"}[family]
    stand_ins.add(ip_network(service(family)), ip_network(seen))
    world = World(stand_ins=stand_ins)
    for _ in range(2):
        assert world.send(udp(family, to=seen)) == [frame(family)]
    [answer] = world.deliver(frame(family))
    assert (answer.src, answer[UDP].dport, bytes(answer)) == (seen, 5000, bytes(recomputed(answer)))
    failure = Failure(*{4: (3, 3), 6: (1, 4)}[family], target(family)).encoded()
    [error] = world.deliver(Frame(FAILED, 1, 53, target(family), failure))
    quoted = error[IPerror] if family == 4 else error[IPerror6]
    assert (error.src, quoted.dst) == (seen, seen)
    request = ping(family)
    request.dst = seen
    [echo] = world.send(request)
    assert (echo.kind, echo.address) == (ECHO, target(family))
    [reply] = world.deliver(echo)
    assert reply.src == seen
