"""A connection over several channels, in the pod: how it is made, what goes over which channel, how it ends."""

import errno
import random
import secrets
import socket
import struct
from contextlib import suppress

import pytest
from ktpy_agent import striped_flow

from ktpy.wire.flows import STRIPE, STRIPED, TOKEN_BYTES, Opening
from ktpy.wire.stripes import ANSWER_BYTES, FRAME_BYTES, HEADER_BYTES, Incoming, Outgoing, parse_answer
from tests.kit.ports import free_port
from tests.unit.agent.flow_laptop import LOOPBACK, Laptop, Target, receive


class Striped:
    """The laptop's half of a connection."""

    def __init__(self, laptop: Laptop, port: int, address: bytes = LOOPBACK) -> None:
        self.laptop = laptop
        self.outgoing, self.incoming = Outgoing(), Incoming()
        self.token = secrets.token_bytes(TOKEN_BYTES)
        self.channels: list[socket.socket] = []
        self.begin(Opening(STRIPED, self.token, 0, port, address))

    def begin(self, opening: Opening) -> None:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.connect(str(self.laptop.path))
        channel.setblocking(False)
        channel.send(opening.encoded())
        self.channels.append(channel)
        self.incoming.add(channel)

    def join(self) -> None:
        self.begin(Opening(STRIPE, self.token, 0))

    def answer(self) -> int:
        return parse_answer(receive(self.laptop, self.channels[0], ANSWER_BYTES))

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


def test_much_goes_over_all_channels(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    """One that nobody reads takes what its socket holds; the others take the rest."""
    flow.join()
    flow.join()
    laptop.until(lambda: len(laptop.relay.striped[flow.token]._stripes) == 3)
    data = random.Random(1).randbytes(40 * FRAME_BYTES)
    given = 0
    received = bytearray()
    while given < len(data):
        try:
            given += server.send(data[given : given + 100_000])
        except BlockingIOError:
            received += flow.receive(1)
    while len(received) < len(data):
        received += flow.receive(1)
    assert received == data


def test_channels_that_are_read_at_once_take_turns(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.join()
    laptop.until(lambda: len(laptop.relay.striped[flow.token]._stripes) == 2)
    counts = [0, 0]
    for number in range(10):
        server.send(b"word")
        laptop.until(lambda: any(_arrived(flow, counts)))
        assert sum(counts) == (number + 1) * (4 + HEADER_BYTES)
    assert counts[0] == counts[1]


def _arrived(flow: Striped, counts: list[int]) -> list[int]:
    """Count what has come over each channel, and return how much that was."""
    arrived = [0, 0]
    for number, channel in enumerate(flow.channels):
        with suppress(BlockingIOError):
            arrived[number] = len(channel.recv(1 << 20))
            counts[number] += arrived[number]
    return arrived


def test_the_channel_that_is_read_takes_more(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.join()
    laptop.until(lambda: len(laptop.relay.striped[flow.token]._stripes) == 2)
    counts = [0, 0]
    for number in range(200):
        server.setblocking(True)
        server.sendall(bytes(FRAME_BYTES // 4))
        laptop.turn()
        laptop.turn()
        for channel in (1, 0) if not number % 50 else (1,):
            with suppress(BlockingIOError):
                counts[channel] += len(flow.channels[channel].recv(1 << 20))
    assert counts[1] > 2 * counts[0]


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
    laptop.until(lambda: len(laptop.relay.striped[flow.token]._stripes) == 2)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    for channel in flow.channels:
        assert receive(laptop, channel, HEADER_BYTES) == b""
    assert flow.has_ended


def test_a_laptop_that_is_gone_resets_the_target(laptop: Laptop, flow: Striped, server: socket.socket) -> None:
    flow.join()
    laptop.until(lambda: len(laptop.relay.striped[flow.token]._stripes) == 2)
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
    laptop.until(lambda: len(striped._stripes) == 2 and striped._incoming.is_ahead(striped._stripes[1]))
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
