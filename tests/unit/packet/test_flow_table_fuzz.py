"""Any order of packets and of calls leaves the flow table whole: packets as scapy builds them, in random order."""

import random
from functools import cache

import pytest
from scapy.layers.inet import TCP

from ktpy.packet.dispatch import Dispatch
from ktpy.packet.flow import Flow, State
from ktpy.packet.flow_table import FlowTable, NewFlow
from tests.unit.packet.oracle import (
    ACCEPTOR_PORT,
    HAIRPIN4,
    HAIRPIN6,
    own,
    parse,
    peer,
    recomputed,
    service,
    tcp,
    wire,
)

Endpoint = tuple[str, int]
FLAGS = ["S"] * 8 + ["SA", "A", "F", "FA", "R", "RA", "SF", "SR", "SFA", "FSRA", "PA", ""]
STEPS = 800


@cache
def built(source: Endpoint, destination: Endpoint, flags: str, seq: int, partial: bool) -> bytes:
    return bytes(wire(tcp(source, destination, flags, seq=seq), partial=partial))


class Driver:
    """Does at random what an app, the acceptor's kernel and the relay may do, and more."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.table = FlowTable([HAIRPIN4, HAIRPIN6], max_flows=6, ports=range(2000, 2008), linger_s=2, quiet_s=9)
        self.dispatch = Dispatch(self.table)
        self.flows: list[Flow] = []
        self.now_s = 0.0

    def step(self) -> None:
        self.random.choices(
            [self.app_sends, self.acceptor_sends, self.decide, self.release, self.expire], [6, 5, 4, 2, 1]
        )[0]()
        self.flows = [flow for flow in self.flows if flow.state is not State.CLOSED]
        self.check()

    def send(self, source: Endpoint, destination: Endpoint, flags: str) -> None:
        seq, partial = self.random.choice([0, 2**32 - 1]), self.random.random() < 0.5
        data = bytearray(built(source, destination, flags, seq, partial))
        if self.table.rewrite(data, len(data)):
            rewritten = parse(data)
            if not data[0]:
                assert data[10:] == recomputed(rewritten)
            assert rewritten[TCP].flags == flags
            return
        event = self.dispatch.receive(data, len(data))
        if isinstance(event, NewFlow):
            assert flags == "S"
            self.flows.append(event.flow)

    def app_sends(self) -> None:
        family = self.random.choice([4, 6])
        source = own(family), self.random.choice([50000, 50001, ACCEPTOR_PORT])
        destination = self.random.choice([(service(family), 80), (peer(family), 2000)])
        self.send(source, destination, self.random.choice(FLAGS))

    def acceptor_sends(self) -> None:
        family = self.random.choice([4, 6])
        destination = peer(family), self.random.randrange(1999, 2009)
        self.send((own(family), ACCEPTOR_PORT), destination, self.random.choice(FLAGS))

    def pick(self, state: State) -> Flow | None:
        found = [flow for flow in self.flows if flow.state is state]
        return self.random.choice(found) if found else None

    def decide(self) -> None:
        if flow := self.pick(State.DIALLING):
            answer = self.random.choice([self.table.admit, self.table.admit, self.table.refuse, self.table.unreachable])
            assert bytes(parse(answer(flow)))

    def release(self) -> None:
        for reset in self.table.take_resets():
            if reset.state is State.OPEN:  # it may have been reset twice
                self.table.release(reset, self.now_s)
        if flow := self.pick(State.OPEN):
            self.table.release(flow, self.now_s)

    def expire(self) -> None:
        self.now_s += self.random.choice([1.0, 5.0])
        self.table.expire(self.now_s)

    def check(self) -> None:
        assert len(self.table) == len(self.flows)
        assert len({flow.port for flow in self.flows}) == len(self.flows)
        newest = {flow.key: flow for flow in self.flows if flow.state is not State.DIALLING}
        rewrites = self.table._rewrites
        for flow in self.flows:
            if flow.state is State.DIALLING:
                assert self.table._held[flow.key] is flow
            else:
                assert rewrites[flow.reply_key] is flow.inbound
        for key, flow in newest.items():
            is_superseded = key in self.table._held
            assert (rewrites.get(key) is flow.outbound) or (is_superseded or flow.finished)
        owners = {id(flow) for flow in self.flows}
        assert all(id(rewrite.flow) in owners for rewrite in rewrites.values())


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_packets_and_calls(seed: int) -> None:
    driver = Driver(seed)
    for _ in range(STEPS):
        driver.step()
    assert driver.table.counters.admitted > 10


def test_a_syn_with_fin_takes_no_flow_away_that_is_not_forgotten_yet() -> None:
    """It begins no connection (it is answered with a reset), so late retransmissions of the last one still pass."""
    driver = Driver(0)
    app, target = (own(4), 50000), (service(4), 80)
    driver.send(app, target, "S")
    [flow] = driver.flows
    driver.table.admit(flow)
    driver.send(app, target, "FA")
    driver.send((own(4), ACCEPTOR_PORT), (peer(4), flow.port), "FA")
    assert flow.finished
    driver.send(app, target, "SF")
    data = wire(tcp(app, target, "FA"))
    assert driver.table.rewrite(data, len(data))
