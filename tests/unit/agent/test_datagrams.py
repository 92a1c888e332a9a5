import errno
import os
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from ktpy_agent import datagrams
from ktpy_agent.datagrams import DatagramRelay

from ktpy.wire.datagram import (
    BEAT,
    DATAGRAM,
    FAILED,
    FORGET,
    NOWHERE,
    Failure,
    Frame,
    FrameParser,
    beat,
    dropped_in,
    mapped,
)
from tests.kit.ports import free_port

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def packed(text: str) -> bytes:
    return mapped(ip_address(text).packed)


class World:
    """A relay with its laptop and its supervisor; it works while something is waited for."""

    def __init__(self) -> None:
        frames_in, self.laptop = os.pipe()
        self.from_pod, frames_out = os.pipe()
        os.set_blocking(self.from_pod, False)
        self.register, self.supervisor = socket.socketpair()
        self.descriptors = [frames_in, self.laptop, self.from_pod, frames_out]
        self.relay = DatagramRelay(frames_in, frames_out, self.register)
        self.reader = FrameParser()
        self.frames: list[Frame] = []

    def send(self, *frames: Frame) -> None:
        os.write(self.laptop, b"".join(frame.encoded() for frame in frames))

    def next_frame(self, within_s: float = 5.0) -> Frame | None:
        deadline_s = time.monotonic() + within_s
        while not self.frames and time.monotonic() < deadline_s:
            self.relay.turn(0.02)
            try:
                self.frames += self.reader.feed(os.read(self.from_pod, 1 << 20))
            except BlockingIOError:
                continue
        return self.frames.pop(0) if self.frames else None

    def close(self) -> None:
        for flow in self.relay._flows.values():
            flow.socket.close()
        self.relay._poller.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.register.close()
        self.supervisor.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request: Any) -> int:
    if request.param == 6 and not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    return int(request.param)


@pytest.fixture
def server(version: int) -> Iterator[socket.socket]:
    with bound(version) as made:
        yield made


def bound(version: int) -> socket.socket:
    made = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
    made.bind((LOOPBACK[version], 0))
    made.settimeout(5)
    return made


def to(server: socket.socket, payload: bytes, flow: int = 1) -> Frame:
    host, port, *_ = server.getsockname()
    return Frame(DATAGRAM, flow, port, packed(host), payload)


def received(world: World, server: socket.socket) -> tuple[bytes, Any]:
    world.relay.turn(0.5)
    return server.recvfrom(65535)


@pytest.mark.parametrize("size", [0, 1, 1472, 65507])
def test_to_and_fro(world: World, server: socket.socket, size: int) -> None:
    world.send(to(server, b"x" * min(size, 60000)))  # a pipe holds no more
    payload, program = received(world, server)
    assert payload == b"x" * min(size, 60000)
    server.sendto(b"y" * size, program)
    assert world.next_frame() == to(server, b"y" * size)


def test_one_socket_towards_all_targets(world: World, server: socket.socket, version: int) -> None:
    with bound(version) as other:
        world.send(to(server, b"a"), to(other, b"b"))
        assert received(world, server)[1] == other.recvfrom(9)[1]


def test_each_flow_has_its_own(world: World, server: socket.socket) -> None:
    world.send(to(server, b"a", flow=1), to(server, b"b", flow=2))
    one, two = received(world, server)[1], server.recvfrom(9)[1]
    assert one != two
    server.sendto(b"to two", two)
    assert world.next_frame() == to(server, b"to two", flow=2)


def test_an_answer_from_another_port(world: World, server: socket.socket, version: int) -> None:
    """As TFTP does it."""
    world.send(to(server, b"a"))
    with bound(version) as other:
        other.sendto(b"b", received(world, server)[1])
        assert world.next_frame() == to(other, b"b")


@pytest.mark.parametrize("version", [4], ids=["ipv4"])
def test_nobody_else_is_heard(world: World, server: socket.socket, version: int) -> None:
    world.send(to(server, b"a"))
    program = received(world, server)[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.sendto(b"let me in", ("127.0.0.1", program[1]))
    server.sendto(b"b", program)
    assert world.next_frame() == to(server, b"b")
    assert world.next_frame(within_s=0.05) is None


def test_hosts_that_it_has_sent_to_are_bounded(
    world: World, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "MAX_PEERS", 2)
    for number in range(1, 6):
        world.relay.take(Frame(DATAGRAM, 1, 9, packed(f"127.0.0.{number}"), b"x"))
        assert len(world.relay._flows[1].peers) <= 2


def refused(version: int, port: int, flow: int = 1) -> Frame:
    failure = Failure(*((3, 3) if version == 4 else (1, 4)), packed(LOOPBACK[version]))
    return Frame(FAILED, flow, port, packed(LOOPBACK[version]), failure.encoded())


def test_port_unreachable(world: World, version: int) -> None:
    port = free_port()
    world.send(Frame(DATAGRAM, 1, port, packed(LOOPBACK[version]), b"a"))
    assert world.next_frame() == refused(version, port)
    assert world.next_frame(within_s=0.05) is None


def test_what_one_target_refuses_holds_up_no_other(world: World, server: socket.socket, version: int) -> None:
    closed = Frame(DATAGRAM, 1, free_port(), packed(LOOPBACK[version]), b"a")
    for number in range(20):
        world.send(closed, to(server, b"%d" % number))
        assert received(world, server)[0] == b"%d" % number
    found = [world.next_frame() for _ in range(20)]
    assert set(found) == {refused(version, closed.port)}


def test_no_way_to_the_target(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_route(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(DatagramRelay, "_open", no_route)
    frame = Frame(DATAGRAM, 1, 53, packed("192.0.2.1"), b"a")
    world.relay.take(frame)
    assert world.next_frame() == frame._replace(kind=FAILED, payload=Failure(3, 0, NOWHERE).encoded())


def test_a_datagram_that_is_too_long_is_dropped_and_counted(world: World, server: socket.socket, version: int) -> None:
    world.relay.take(to(server, bytes(65535)))
    world.send(Frame(BEAT, 0, 0, NOWHERE, b""))
    answer = world.next_frame()
    assert answer is not None
    assert (answer.kind, dropped_in(answer)) == (BEAT, 1)


def test_a_flow_is_forgotten(world: World, server: socket.socket) -> None:
    world.send(to(server, b"a"))
    before = received(world, server)[1]
    world.send(Frame(FORGET, 1, 0, NOWHERE, b""), Frame(FORGET, 9, 0, NOWHERE, b""))
    world.relay.turn(0.5)
    assert not world.relay._flows
    world.send(to(server, b"b"))
    assert received(world, server)[1] != before


def test_a_laptop_that_does_not_read_loses_datagrams(
    world: World, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "OUTBOX_BYTES", 100_000)
    world.send(to(server, b"a"))
    program = received(world, server)[1]
    for _ in range(200):
        server.sendto(bytes(1000), program)
        world.relay.turn(0.01)
    assert world.relay.dropped > 10
    got = 0
    while world.next_frame(within_s=0.1):
        got += 1
    assert got + world.relay.dropped == 200


@pytest.mark.parametrize("who", ["laptop", "supervisor"])
def test_it_ends_with(world: World, who: str) -> None:
    if who == "laptop":
        os.close(world.laptop)
        world.descriptors.remove(world.laptop)
    else:
        world.supervisor.close()
    world.relay.serve(60.0)


def test_it_ends_when_the_laptop_is_silent(world: World) -> None:
    os.write(world.laptop, beat())
    world.relay.turn(0.5)
    world.relay.serve(0.05)
