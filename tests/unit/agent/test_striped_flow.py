"""A connection over several channels, in the pod: how it is made, what goes over which channel, how it ends."""

import errno
import random
import secrets
import socket
import struct
from collections import deque
from contextlib import suppress

import pytest
from ktpy_agent import striped_flow

from ktpy.wire.flows import CONTROL, STRIPE, STRIPED, TOKEN_BYTES, Opening
from ktpy.wire.stripes import (
    ANSWER_BYTES,
    BARE_FRAME_BYTES,
    FRAME_BYTES,
    HEADER_BYTES,
    Incoming,
    Outgoing,
    parse_answer,
)
from tests.kit.ports import free_port
from tests.unit.agent.flow_laptop import LOOPBACK, Laptop, Target, receive


class Striped:
    """The laptop's half of a connection."""

    def __init__(self, laptop: Laptop, port: int, address: bytes = LOOPBACK) -> None:
        self.laptop = laptop
        self.outgoing, self.incoming = Outgoing(), Incoming()
        self.token = secrets.token_bytes(TOKEN_BYTES)
        self.counts: dict[socket.socket, int] = {}
        """How much has come over each."""
        self.channels: list[socket.socket] = []
        """The first one is as sshd has it, the others come to the port for bulk."""
        self.begin(Opening(STRIPED, self.token, 0, port, address))

    def begin(self, opening: Opening, *, is_bare: bool = False) -> None:
        channel = socket.socket(socket.AF_INET if is_bare else socket.AF_UNIX, socket.SOCK_STREAM)
        channel.connect(("127.0.0.1", self.laptop.bulk_port) if is_bare else str(self.laptop.path))
        channel.setblocking(False)
        channel.send(opening.encoded())
        self.channels.append(channel)
        self.counts[channel] = 0
        self.incoming.add(channel)

    def join(self, *, is_bare: bool = True) -> None:
        self.begin(Opening(STRIPE, self.token, 0), is_bare=is_bare)
        assert self.answer(-1) == 0

    def answer(self, channel: int = 0) -> int:
        return parse_answer(receive(self.laptop, self.channels[channel], ANSWER_BYTES))

    def send(self, data: bytes, channel: int = 0) -> None:
        self.channels[channel].send(self.outgoing.header(len(data)) + data)

    def receive(self, count: int) -> bytes:
        """Receive so many bytes, of whichever channels, fewer at the stream's end."""
        received = bytearray()

        def is_complete() -> bool:
            for channel in self.channels:
                if not self.incoming.is_ahead(channel):
                    try:
                        data = channel.recv(100_000)
                    except BlockingIOError:
                        continue
                    assert data, "a channel ended"
                    self.counts[channel] += len(data)
                    received.extend(self.incoming.feed(channel, data))
            return len(received) >= count or self.incoming.has_ended

        self.laptop.until(is_complete)
        return bytes(received)

    @property
    def has_ended(self) -> bool:
        return self.token not in self.laptop.relay.striped


@pytest.fixture
def flow(laptop: Laptop, target: Target) -> Striped:
    return Striped(laptop, target.port)


@pytest.fixture
def server(flow: Striped, target: Target) -> socket.socket:
    assert flow.answer() == 0
    return target.accept()


def test_bytes_go_both_ways(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.send(b"question")
    assert receive(laptop, server, 8) == b"question"
    server.send(b"answer")
    assert flow.receive(6) == b"answer"


def test_nobody_listens_and_the_channel_may_carry_another(laptop: Laptop, target: Target) -> None:
    refused = Striped(laptop, free_port())
    assert refused.answer() == errno.ECONNREFUSED
    assert refused.has_ended
    refused.channels[0].send(Opening(STRIPED, refused.token, 0, target.port, LOOPBACK).encoded())
    assert refused.answer() == 0


def test_there_is_no_way(laptop: Laptop) -> None:
    assert Striped(laptop, 80, bytes(10) + b"\xff\xff" + bytes([224, 0, 0, 1])).answer() == errno.ENETUNREACH


def test_a_connection_of_that_token_there_is_already(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.begin(Opening(STRIPED, flow.token, 0, free_port(), LOOPBACK))
    assert receive(laptop, flow.channels[1], 1) == b""
    flow.send(b"fine")
    assert receive(laptop, server, 4) == b"fine"


@pytest.mark.parametrize("kind", [STRIPE, STRIPED, CONTROL])
def test_who_knows_no_token_is_turned_away(laptop: Laptop, flow: Striped, server: socket.socket, kind: int) -> None:
    """Everybody in the pod may connect to the port, so what it takes is a token that came over SSH."""
    flow.begin(Opening(kind, bytes(TOKEN_BYTES), 0, free_port(), LOOPBACK), is_bare=True)
    assert receive(laptop, flow.channels[1], 1) == b""
    flow.send(b"fine")
    assert receive(laptop, server, 4) == b"fine"


def test_the_port_takes_nothing_but_stripes(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.begin(Opening(STRIPED, flow.token, 0, free_port(), LOOPBACK), is_bare=True)
    assert receive(laptop, flow.channels[1], 1) == b""


def test_a_stripe_of_no_connection(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.begin(Opening(STRIPE, bytes(TOKEN_BYTES), 0))
    assert receive(laptop, flow.channels[1], 1) == b""
    flow.send(b"fine")
    assert receive(laptop, server, 4) == b"fine"


def test_what_is_ahead_waits(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.join()
    first = flow.outgoing.header(3) + b"one"
    flow.send(b"two", 1)
    for _ in range(5):
        laptop.turn()
    with pytest.raises(BlockingIOError):
        server.recv(10)
    flow.channels[0].send(first)
    assert receive(laptop, server, 6) == b"onetwo"


@pytest.mark.parametrize("further", [1, 2])
@pytest.mark.parametrize("is_bare", [True, False])
def test_much_goes_over_further_channels(
    laptop: Laptop, flow: Striped, server: socket.socket, is_bare: bool, further: int
) -> None:
    for _ in range(further):
        flow.join(is_bare=is_bare)
    data = random.Random(1).randbytes(20 * BARE_FRAME_BYTES)
    given = 0
    received = bytearray()
    while given < len(data):
        try:
            given += server.send(data[given : given + 1_000_000])
        except BlockingIOError:
            received += flow.receive(1)
    while len(received) < len(data):
        received += flow.receive(1)
    assert received == data
    assert flow.counts[flow.channels[0]] == 0
    assert all(flow.counts[channel] > BARE_FRAME_BYTES for channel in flow.channels[1:])


def test_much_comes_over_bare_channels(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    """What the target does not take at once waits, and arrives in order."""
    flow.join()
    flow.join()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    data = random.Random(2).randbytes(6 * BARE_FRAME_BYTES)
    frames = [data[start : start + BARE_FRAME_BYTES] for start in range(0, len(data), BARE_FRAME_BYTES)]
    waiting = [deque[bytes](), deque[bytes]()]
    for number, frame in enumerate(frames):
        waiting[number % 2].append(flow.outgoing.header(len(frame)) + frame)
    received = bytearray()
    while len(received) < len(data):
        for channel, pieces in zip(flow.channels[1:], waiting, strict=True):
            with suppress(BlockingIOError):
                if pieces and (rest := pieces.popleft()):
                    sent = 0
                    try:
                        sent = channel.send(rest)
                    finally:
                        if sent < len(rest):
                            pieces.appendleft(rest[sent:])
        laptop.turn()
        with suppress(BlockingIOError):
            received += server.recv(1 << 20)
    assert received == data


@pytest.mark.parametrize("is_bare", [True, False])
def test_channels_that_are_read_at_once_take_turns(
    laptop: Laptop, flow: Striped, server: socket.socket, is_bare: bool
) -> None:
    flow.join(is_bare=is_bare)
    flow.join(is_bare=is_bare)
    for number in range(10):
        server.send(b"word")
        assert flow.receive(4) == b"word"
        assert flow.counts[flow.channels[1 + number % 2]] == (number // 2 + 1) * (4 + HEADER_BYTES)


def test_the_channel_that_is_read_takes_more(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.join(is_bare=False)
    flow.join(is_bare=False)
    counts = [0, 0]
    for number in range(200):
        server.setblocking(True)
        server.sendall(bytes(FRAME_BYTES // 4))
        laptop.turn()
        laptop.turn()
        for channel in (1, 0) if not number % 50 else (1,):
            with suppress(BlockingIOError):
                counts[channel] += len(flow.channels[1 + channel].recv(1 << 20))
    assert counts[1] > 2 * counts[0]


class TestRetired:
    """The laptop sends no more on a bare channel, and neither does the agent then."""

    def test_both_say_so_and_the_laptop_closes(self, laptop: Laptop, flow: Striped, server: socket.socket) -> None:
        flow.join()
        flow.send(b"one", 1)
        flow.channels[1].send(flow.outgoing.retire())
        assert receive(laptop, server, 3) == b"one"
        assert receive(laptop, flow.channels[1], HEADER_BYTES) == flow.outgoing.retire()
        server.send(b"over SSH")
        assert flow.receive(8) == b"over SSH"
        flow.channels.pop().close()
        laptop.until(lambda: len(laptop.relay.striped[flow.token]._stripes) == 1)
        flow.send(b"two")
        assert receive(laptop, server, 3) == b"two"

    def test_what_the_agent_has_yet_to_send_comes_before(
        self, laptop: Laptop, flow: Striped, server: socket.socket
    ) -> None:
        flow.join()
        data = random.Random(3).randbytes(8 << 20)
        given = 0
        with suppress(BlockingIOError):
            while given < len(data):
                given += server.send(data[given : given + 1_000_000])
                laptop.turn()
        flow.channels[1].send(flow.outgoing.retire())
        received = bytearray()
        while flow.channels[1] not in flow.incoming.retired:
            received += flow.receive(1)
        flow.channels.pop().close()
        while given < len(data) or len(received) < len(data):
            with suppress(BlockingIOError):
                given += server.send(data[given : given + 100_000])
            if len(received) < given:
                received += flow.receive(1)
        assert received == data

    def test_a_channel_that_ends_unretired_resets(self, laptop: Laptop, flow: Striped, server: socket.socket) -> None:
        flow.join()
        flow.channels[1].close()
        laptop.until(lambda: flow.has_ended)
        with pytest.raises(ConnectionResetError):
            server.recv(1)


def test_what_is_under_way_at_the_end_is_not_reset(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    """The laptop retires a channel just as the agent is done with it."""
    flow.join()
    flow.channels[0].send(flow.outgoing.end())
    assert receive(laptop, server, 1) == b""
    flow.channels[1].send(flow.outgoing.retire()[:3])
    server.send(b"the last words")
    server.close()
    laptop.until(lambda: flow.has_ended)
    flow.channels[1].send(flow.outgoing.retire()[3:])
    for _ in range(3):
        laptop.turn()
    assert flow.receive(14) == b"the last words"
    flow.channels[1].close()


def test_each_half_ends_by_itself_and_the_channel_may_carry_another(
    laptop: Laptop, flow: Striped, server: socket.socket, target: Target
) -> None:
    flow.send(b"all")
    flow.channels[0].send(flow.outgoing.end())
    assert receive(laptop, server, 4) == b"all"
    server.send(b"answer")
    server.close()
    assert flow.receive(100) == b"answer"
    laptop.until(lambda: flow.has_ended)
    flow.channels[0].send(Opening(STRIPED, flow.token, 0, target.port, LOOPBACK).encoded())
    assert flow.answer() == 0


def test_the_next_connection_is_asked_for_while_the_last_ones_bytes_are_under_way(
    laptop: Laptop, flow: Striped, server: socket.socket, target: Target
) -> None:
    flow.join()
    server.shutdown(socket.SHUT_WR)
    assert flow.receive(1) == b""
    late = flow.outgoing.header(4) + b"late"
    other = Opening(STRIPED, secrets.token_bytes(TOKEN_BYTES), 0, target.port, LOOPBACK)
    flow.channels[0].send(flow.outgoing.end() + other.encoded())
    laptop.turn()
    flow.channels[1].send(late)
    assert receive(laptop, server, 5) == b"late"
    assert flow.answer() == 0


def test_a_target_that_resets_ends_all_channels(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.join()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    for channel in flow.channels:
        assert receive(laptop, channel, HEADER_BYTES) == b""
    assert flow.has_ended


def test_a_laptop_that_is_gone_resets_the_target(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.join()
    for channel in flow.channels:
        channel.close()
    laptop.until(lambda: flow.has_ended)
    with pytest.raises(ConnectionResetError):
        server.recv(1)


def test_a_laptop_that_closes_after_its_end_does_not_reset(
    laptop: Laptop, flow: Striped, server: socket.socket
) -> None:
    flow.send(b"last words")
    flow.channels[0].send(flow.outgoing.end())
    flow.channels[0].close()
    laptop.until(lambda: flow.has_ended)
    assert receive(laptop, server, 11) == b"last words"


def test_one_channel_is_lost_with_what_the_others_wait_for(
    laptop: Laptop, flow: Striped, server: socket.socket
) -> None:
    flow.join()
    flow.outgoing.header(3)
    flow.send(b"two", 1)
    striped = laptop.relay.striped[flow.token]
    laptop.until(lambda: striped._incoming.is_ahead(striped._stripes[1]))
    flow.channels[0].close()
    laptop.until(lambda: flow.has_ended)
    with pytest.raises(ConnectionResetError):
        server.recv(1)


def test_what_no_laptop_of_ours_says(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.channels[0].send(struct.pack("!II", 0, 1 << 30))
    laptop.until(lambda: flow.has_ended)
    with pytest.raises(ConnectionResetError):
        server.recv(1)


def test_a_laptop_that_is_gone_while_the_target_takes_nothing(
    laptop: Laptop, flow: Striped, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives up the target once it has taken nothing for so long."""
    monkeypatch.setattr(striped_flow, "ABANDONED_MS", 300)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(200):
        laptop.turn()
        try:
            flow.send(bytes(FRAME_BYTES))
        except BlockingIOError:
            break
    flow.channels[0].close()
    laptop.until(lambda: flow.has_ended)


def test_it_ends_with_the_relay(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    laptop.relay.close()
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    laptop.relay = type("Closed", (), {"close": lambda self: None})()
