"""One connection through the pod's relay: how it is made, what it carries, how it ends, and how it goes on."""

import errno
import random
import select
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest
from ktpy_agent.flow import Flow

from ktpy.wire.flows import ANSWER, CLOSE, DIAL, DONE, END, FLOW, GONE, NEW, RECEIVED, RESUME, RESUMED, Note, Opening
from ktpy.wire.ledger import RING_BYTES, Budget, Incoming, Outgoing
from tests.kit.ports import free_port
from tests.unit.agent.flow_laptop import LOOPBACK, TOKEN, Laptop, Target, receive

T = TypeVar("T")


@pytest.fixture(params=["on this node", "on another"])
def _place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the target is. A connection to this node stands when it is asked for; another's answer takes its time."""
    if request.param == "on this node":
        return
    connect, asked = socket.socket.connect_ex, set[socket.socket]()

    def connect_far(sock: socket.socket, address: tuple[str, int]) -> int:
        if sock in asked:
            return errno.EALREADY
        asked.add(sock)
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect_ex", connect_far)


@pytest.mark.usefixtures("_place")
def test_bytes_go_both_ways_and_are_acknowledged(laptop: Laptop, target: Target) -> None:
    channel = laptop.dial(target.port)
    assert laptop.hear(ANSWER).value == 0
    server = target.accept()
    channel.send(b"question")
    assert receive(laptop, server, 8) == b"question"
    server.send(b"answer")
    assert receive(laptop, channel, 6) == b"answer"
    assert laptop.hear(RECEIVED).value == 8


@pytest.mark.usefixtures("_place")
def test_what_comes_before_the_answer_is_delivered_after_it(laptop: Laptop, target: Target) -> None:
    channel = laptop.dial(target.port)
    channel.send(b"early")
    assert receive(laptop, target.accept(), 5) == b"early"


@pytest.mark.usefixtures("_place")
def test_what_comes_before_a_refusal_changes_nothing(laptop: Laptop) -> None:
    channel = laptop.dial(free_port())
    channel.send(b"early")
    assert laptop.hear(ANSWER).value == errno.ECONNREFUSED


def test_what_is_over_is_not_acknowledged(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    channel.send(b"question")
    assert receive(laptop, server, 8) == b"question"
    laptop.tell(Note(GONE, 1))
    laptop.until(lambda: not laptop.relay.sessions[TOKEN].flows)
    laptop.now_s += 1
    laptop.turn()
    assert [note for note in laptop.told if note.kind == RECEIVED] == []


@pytest.mark.usefixtures("_place")
def test_nobody_listens(laptop: Laptop) -> None:
    channel = laptop.dial(free_port())
    assert laptop.hear(ANSWER).value == errno.ECONNREFUSED
    assert receive(laptop, channel, 1) == b""
    assert not laptop.relay.sessions[bytes(16)].flows


def test_the_answer_is_on_its_way_before_the_channel_closes(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else sshd may hand on the end first."""
    was_told: list[bool] = []
    detach = Flow.detach

    def look_and_detach(flow: Flow) -> None:
        was_told.append(bool(select.select([laptop.control], [], [], 0)[0]))
        detach(flow)

    monkeypatch.setattr(Flow, "detach", look_and_detach)
    channel = laptop.dial(free_port())
    assert receive(laptop, channel, 1) == b""
    assert was_told[-1]


def test_there_is_no_way(laptop: Laptop) -> None:
    """A multicast address is nobody's that could be connected to; the kernel says so without a packet."""
    laptop.tell(Note(DIAL, 1, 80, bytes(10) + b"\xff\xff" + bytes([224, 0, 0, 1])))
    assert laptop.hear(ANSWER).value == errno.ENETUNREACH


def test_a_connection_that_stands_at_once_takes_no_further_turn(laptop: Laptop, target: Target) -> None:
    laptop.until(lambda: TOKEN in laptop.relay.sessions)
    laptop.tell(Note(DIAL, 1, target.port, LOOPBACK))
    laptop.turn()
    assert [note.kind for note in laptop.told] == [ANSWER]


def test_each_half_ends_by_itself(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    laptop.tell(Note(END, 1, 3))
    laptop.turn()
    channel.send(b"all")
    assert receive(laptop, server, 4) == b"all", "the end has come before what it ends"
    server.send(b"answer")
    server.shutdown(socket.SHUT_WR)
    assert receive(laptop, channel, 6) == b"answer"
    assert laptop.hear(END).value == 6
    laptop.tell(Note(CLOSE, 1, 3))
    laptop.hear(DONE)
    assert receive(laptop, server, 1) == b""


def test_a_close_delivers_what_was_sent_before(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    laptop.hear(ANSWER)
    laptop.tell(Note(CLOSE, 1, 4))
    laptop.turn()
    server.send(b"is not read")
    channel.send(b"last")
    assert receive(laptop, server, 4) == b"last"
    assert laptop.hear(END).value == 0
    laptop.hear(DONE)


def test_a_channel_carries_one_flow_after_the_other(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    for flow in range(1, 4):
        assert laptop.hear(ANSWER, flow).value == 0
        channel.send(b"question")
        assert receive(laptop, server, 8) == b"question"
        server.send(b"answer")
        assert receive(laptop, channel, 6) == b"answer"
        laptop.tell(Note(CLOSE, flow, 8))
        assert laptop.hear(END, flow).value == 6
        laptop.hear(DONE, flow)
        assert receive(laptop, server, 1) == b""
        channel.send(Opening(NEW, TOKEN, flow + 1, target.port, LOOPBACK).encoded())
        server = target.accept()


def test_nobody_listens_where_a_used_channel_is_to_lead(laptop: Laptop) -> None:
    channel = laptop.channel(NEW, 1)
    assert laptop.hear(ANSWER).value == errno.ECONNREFUSED
    assert receive(laptop, channel, 1) == b""


def test_the_target_resets(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    laptop.hear(ANSWER)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    assert laptop.hear(GONE).value == errno.ECONNRESET
    assert receive(laptop, channel, 1) == b""


def test_the_target_resets_a_flow_that_outran_what_is_held(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    laptop.hear(ANSWER)
    outgoing = laptop.relay.sessions[TOKEN].flows[1].outgoing
    outgoing._budget.left_bytes = 0
    server.send(bytes(200_000))
    laptop.until(lambda: outgoing.is_full)
    laptop.tell(Note(RECEIVED, 1, 100))
    assert len(receive(laptop, channel, 200_000)) == 200_000
    assert not outgoing.is_kept
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    assert laptop.hear(GONE).value == errno.ECONNRESET


def test_the_laptop_resets(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    laptop.tell(Note(GONE, 1))
    with pytest.raises(ConnectionResetError):
        receive(laptop, server, 1)
    assert receive(laptop, channel, 1) == b""


def test_a_laptop_that_counts_wrongly(laptop: Laptop, target: Target) -> None:
    laptop.dial(target.port)
    server = target.accept()
    laptop.tell(Note(RECEIVED, 1, 1))
    assert laptop.hear(GONE).value == errno.EPROTO
    with pytest.raises(ConnectionResetError):
        receive(laptop, server, 1)


def test_whoever_does_not_read_holds_up_the_other_side_only(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    sent = 0
    for _ in range(200):
        sent += _unless_blocked(lambda: server.send(bytes(1 << 16))) or 0
        laptop.turn(0)
    channel.send(b"still")
    assert receive(laptop, server, 5) == b"still"
    assert len(receive(laptop, channel, min(sent, 1 << 20))) == min(sent, 1 << 20)


def test_an_upload_is_not_faster_than_its_target(laptop: Laptop, target: Target) -> None:
    """Whatever moves it, nothing is lost or changes places where the target takes less than has come."""
    channel, server = laptop.dial(target.port), target.accept()
    blob = random.Random(4).randbytes(4 << 20)
    got, unsent = bytearray(), blob
    while len(got) < len(blob):
        if unsent:
            unsent = unsent[_unless_blocked(partial(channel.send, unsent)) or 0 :]
        laptop.turn(0)
        got += _unless_blocked(lambda: server.recv(100_000)) or b""
    assert got == blob
    laptop.tell(Note(CLOSE, 1, len(blob)))
    assert laptop.hear(END).value == 0


def test_what_waits_for_the_target_goes_before_what_a_hang_up_brings(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    laptop.hear(ANSWER)
    flow = laptop.relay.sessions[TOKEN].flows[1]
    blob = random.Random(5).randbytes(16 << 20)
    sent = 0
    while not (flow._to_target and flow._is_bulk):
        sent += _unless_blocked(partial(channel.send, blob[sent : sent + (1 << 17)])) or 0
        laptop.turn(0)
    sent += channel.send(blob[sent : sent + 1000])
    channel.close()
    got = b""
    while data := _unless_blocked(lambda: server.recv(1 << 20)):
        got += data
    assert flow._channel is not None
    flow._read_channel(flow._channel)
    got += receive(laptop, server, sent - len(got))
    assert got == blob[:sent]


def test_whoever_is_too_fast_goes_on_without_the_promise_until_the_laptop_has_caught_up(
    laptop: Laptop, target: Target
) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    laptop.hear(ANSWER)
    flow = laptop.relay.sessions[TOKEN].flows[1]
    blob = random.Random(3).randbytes(3 * RING_BYTES)
    got, unsent, modes = bytearray(), blob, set()
    while len(got) < len(blob):
        if len(unsent) > 0:
            unsent = unsent[_unless_blocked(partial(server.send, unsent)) or 0 :]
        laptop.turn(0)
        got += _unless_blocked(lambda: channel.recv(1 << 16)) or b""
        if flow.outgoing.is_full:
            laptop.tell(Note(RECEIVED, 1, len(got) - 1))
        modes.add(flow.outgoing.is_kept)
    assert modes == {True, False}
    assert got == blob
    laptop.tell(Note(RECEIVED, 1, len(got)))
    laptop.until(lambda: flow.outgoing.is_kept)


class Story:
    """A two-way connection whose link is lost again and again, at any byte."""

    def __init__(self, laptop: Laptop, target: Target, seed: int) -> None:
        self.laptop, self.chance = laptop, random.Random(seed)
        self.channel = laptop.dial(target.port)
        self.server = target.accept()
        assert laptop.hear(ANSWER).value == 0
        self.outgoing, self.incoming = Outgoing(Budget()), Incoming()
        self.unsent = b""
        self.written = {"up": bytearray(), "down": bytearray()}
        self.delivered = {"up": bytearray(), "down": bytearray()}

    def step(self) -> None:
        data = self.chance.randbytes(self.chance.randint(1, 20000))
        match self.chance.randrange(8):
            case 0 | 1:
                self.outgoing.take(data)
                self.written["up"] += data
                self.unsent += data
            case 2 | 3:
                sent = _unless_blocked(lambda: self.server.send(data)) or 0
                self.written["down"] += data[:sent]
            case 4:
                self.laptop.tell(Note(RECEIVED, 1, self.incoming.received))
            case 5:
                self.cut()
            case _:
                self.move()

    def move(self) -> None:
        if self.unsent:
            self.unsent = self.unsent[_unless_blocked(lambda: self.channel.send(self.unsent)) or 0 :]
        self.laptop.turn(0)
        self.delivered["down"] += (got := _unless_blocked(lambda: self.channel.recv(5000)) or b"")
        self.incoming.received += len(got)
        self.delivered["up"] += _unless_blocked(lambda: self.server.recv(5000)) or b""
        while self.laptop.told:
            if (note := self.laptop.told.pop(0)).kind == RECEIVED:
                self.outgoing.acknowledge(note.value)

    def cut(self) -> None:
        self.laptop.lose_link(self.channel)
        self.laptop.link()
        self.laptop.tell(Note(RESUME, 1, self.incoming.received), Note(RESUMED, 0))
        again = self.outgoing.resume(self.laptop.hear(RESUME).value)
        assert again is not None
        self.channel, self.unsent = self.laptop.channel(FLOW, 1), b"".join(again)


def _unless_blocked(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except BlockingIOError:
        return None


@pytest.mark.parametrize("seed", range(12))
def test_every_byte_arrives_once_and_in_order_whenever_the_link_is_lost(
    laptop: Laptop, target: Target, seed: int
) -> None:
    story = Story(laptop, target, seed)
    for _ in range(120):
        story.step()
    story.cut()

    def is_all_there() -> bool:
        story.move()
        return story.delivered == story.written

    laptop.until(is_all_there)


def test_an_end_that_the_outage_swallowed_is_told_again(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    server.send(b"last")
    server.shutdown(socket.SHUT_WR)
    assert laptop.hear(END).value == 4
    laptop.lose_link(channel)
    laptop.link()
    laptop.tell(Note(RESUME, 1, 0), Note(END, 1, 0), Note(RESUMED, 0))
    assert laptop.hear(RESUME).value == 0
    assert laptop.hear(END).value == 4
    assert receive(laptop, laptop.channel(FLOW, 1), 4) == b"last"
    assert receive(laptop, server, 1) == b""


def test_a_flow_that_outran_what_is_held_is_reset_after_an_outage(laptop: Laptop, target: Target) -> None:
    channel, server = laptop.dial(target.port), target.accept()
    laptop.hear(ANSWER)
    flow = laptop.relay.sessions[TOKEN].flows[1]
    flow.outgoing._budget.left_bytes = 0
    server.send(bytes(200_000))
    assert receive(laptop, channel, 100) == bytes(100)
    laptop.until(lambda: flow.outgoing.is_full)
    laptop.tell(Note(RECEIVED, 1, 100))
    assert len(receive(laptop, channel, 199_900)) == 199_900, "its speed is not touched"
    laptop.lose_link(channel)
    laptop.link()
    laptop.tell(Note(RESUME, 1, 900), Note(RESUMED, 0))
    assert laptop.hear(GONE).value == errno.ECONNRESET
    with pytest.raises(ConnectionResetError):
        receive(laptop, server, 1)
