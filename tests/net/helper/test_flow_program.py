"""The kernel's way of turning packets round, against the flow table's. The kernel runs the program on made packets."""

import ctypes
import os
import random
import struct
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt

from ktpy.capture.tun.kernel_flows import KernelFlows
from ktpy.helper import bpf, flow_program
from ktpy.packet.flow_table import FlowTable, NewFlow
from ktpy.packet.headers import VNET_HEADER_BYTES
from tests.unit.packet.oracle import ACCEPTOR_PORT, HAIRPIN4, HAIRPIN6, own, peer, service, tcp, wire

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loads a program into the kernel: needs root")

TEST_RUN = struct.Struct("=IIIIQQ32x")
"""BPF_PROG_TEST_RUN of linux/bpf.h: prog_fd, retval, sizes and addresses of what goes in and comes out."""
ETHERNET_BYTES = 14
ETHERNET = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}
"""The kernel's trial wants frames, which a TUN does not have."""
TURNED_ROUND, PASSED = 7, 0xFFFFFFFF
ENDING = "FR"


class Trial:
    """A program in the kernel with its map, and the flow table that enters flows there."""

    def __init__(self) -> None:
        self.map_fd = bpf.create_hash(flow_program.KEY_BYTES, flow_program.VALUE.size, flow_program.ENTRIES)
        self.program_fd = bpf.load(flow_program.program(self.map_fd, start=ETHERNET_BYTES), "trial")
        self.kernel_flows = KernelFlows(self.map_fd)
        self.table = FlowTable([HAIRPIN4, HAIRPIN6], bypass=self.kernel_flows)

    def close(self) -> None:
        os.close(self.program_fd)
        os.close(self.map_fd)

    def open(self, family: int, port: int) -> NewFlow:
        syn = wire(tcp((own(family), port), (service(family), 80), "S"))
        event = self.table.receive(syn, len(syn))
        assert isinstance(event, NewFlow)
        self.table.admit(event.flow)
        return event

    def run(self, packet: bytes) -> tuple[int, bytes]:
        """The program's verdict, and what it made of the packet."""
        given = ETHERNET[6 if packet[0] >> 4 == 6 else 4] + packet
        data, out = ctypes.create_string_buffer(given, len(given)), ctypes.create_string_buffer(len(given) + 64)
        attributes = ctypes.create_string_buffer(
            TEST_RUN.pack(self.program_fd, 0, len(given), len(out), ctypes.addressof(data), ctypes.addressof(out)),
            TEST_RUN.size,
        )
        bpf.call(10, attributes)  # type: ignore[arg-type]  # the kernel writes into it
        _, verdict, _, size, _, _ = TEST_RUN.unpack(attributes)
        return verdict, out.raw[ETHERNET_BYTES:size]


@pytest.fixture
def trial() -> Iterator[Trial]:
    made = Trial()
    yield made
    made.close()


def any_packet(dice: random.Random, ports: dict[int, list[int]], flow_ports: dict[int, list[int]]) -> bytes:
    """A packet of an app, of the acceptor, or of nobody: mostly plain, sometimes of a kind that is left alone."""
    family = dice.choice([4, 6])
    unknown = dice.random() < 0.1
    if dice.random() < 0.5:
        source = (own(family), 1 if unknown else dice.choice(ports[family]))
        destination = (service(family), 80)
    else:
        source = (own(family), ACCEPTOR_PORT)
        destination = (peer(family), 1 if unknown else dice.choice(flow_ports[family]))
    flags = "".join(one for one in "FRPAUEC" if dice.random() < (0.05 if one in ENDING else 0.5))
    options = [("Timestamp", (dice.getrandbits(32), dice.getrandbits(32)))] if dice.random() < 0.5 else []
    payload = dice.randbytes(dice.choice([0, 1, 2, 7, 100, 1460]))
    numbers = {"seq": dice.getrandbits(32), "ack": dice.getrandbits(32), "window": dice.getrandbits(16)}
    packet = tcp(source, destination, flags, payload, options=options, urgptr=dice.getrandbits(16), **numbers)
    kind = dice.choice(["plain"] * 12 + ["fragment", "more", "options", "udp", "short"])
    if kind == "udp":
        packet = packet.__class__(src=source[0], dst=destination[0]) / UDP(sport=source[1], dport=destination[1])
    elif kind == "options" and family == 4:
        packet[IP].options = [IPOption_NOP()] * 4
    elif kind == "options":
        packet = IPv6(src=source[0], dst=destination[0]) / IPv6ExtHdrDestOpt() / packet[TCP]
    elif family == 4:
        packet[IP].flags = dice.choice(["DF", ""])
        if kind == "fragment":
            packet[IP].frag = dice.randrange(1, 8192)
        elif kind == "more":
            packet[IP].flags = "MF"
    raw = bytes(packet)
    return raw[: dice.randrange(len(raw) - len(packet.payload), 60)] if kind == "short" else raw


@pytest.mark.parametrize("seed", range(8))
def test_it_does_as_the_flow_table_or_leaves_a_packet_alone(trial: Trial, seed: int) -> None:
    dice = random.Random(seed)
    ports = {family: dice.sample(range(1024, 65536), 5) for family in (4, 6)}
    flow_ports = {family: [trial.open(family, port).flow.port for port in ports[family]] for family in (4, 6)}
    turned_round = 0
    for _ in range(500):
        packet = any_packet(dice, ports, flow_ports)
        verdict, made = trial.run(packet)
        buffer = bytearray(bytes(VNET_HEADER_BYTES) + packet)
        known = trial.table.rewrite(buffer, len(buffer))
        if verdict == TURNED_ROUND:
            assert known, packet.hex()
            assert made == buffer[VNET_HEADER_BYTES:], packet.hex()
            turned_round += 1
        else:
            assert verdict == PASSED
            assert made == packet, packet.hex()
            assert not known or packet[33 if packet[0] == 0x45 else 53] & 0x07, packet.hex()
    assert turned_round > 200


@pytest.mark.parametrize("family", [4, 6])
def test_what_begins_or_ends_a_connection_is_the_flow_tables(trial: Trial, family: int) -> None:
    trial.open(family, 5000)
    for flags in ("S", "SA", "FA", "FPA", "R", "RA"):
        packet = bytes(tcp((own(family), 5000), (service(family), 80), flags))
        assert trial.run(packet) == (PASSED, packet), flags


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_that_has_left_or_paused_is_the_flow_tables(trial: Trial, family: int) -> None:
    flow = trial.open(family, 5000).flow
    packets = [
        bytes(tcp((own(family), 5000), (service(family), 80))),
        bytes(tcp((own(family), ACCEPTOR_PORT), (peer(family), flow.port))),
    ]

    def verdicts() -> list[int]:
        return [trial.run(packet)[0] for packet in packets]

    assert verdicts() == [TURNED_ROUND, TURNED_ROUND]
    trial.kernel_flows.pause()
    assert verdicts() == [PASSED, PASSED]
    other = trial.open(family, 5001).flow
    assert trial.table.counters.bypassing == 1
    trial.kernel_flows.resume()
    assert verdicts() == [TURNED_ROUND, TURNED_ROUND]
    assert trial.run(bytes(tcp((own(family), ACCEPTOR_PORT), (peer(family), other.port))))[0] == TURNED_ROUND
    trial.table.release(flow, 0.0)
    assert verdicts() == [PASSED, PASSED]


def test_a_user_without_rights_who_has_the_map_may_enter_flows(trial: Trial) -> None:
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setresgid(4711, 4711, 4711)
        os.setresuid(4711, 4711, 4711)
        trial.open(4, 5000)
        os._exit(0 if trial.table.counters.bypassing else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert trial.run(bytes(tcp((own(4), 5000), (service(4), 80))))[0] == TURNED_ROUND
