"""Which entries the map has when. What the kernel does by them is in tests/net."""

import errno
import os

import pytest

from ktpy.capture.tun.kernel_flows import KernelFlows
from ktpy.helper import bpf
from ktpy.packet.flow import Flow
from tests.unit.packet.oracle import HAIRPIN4, HAIRPIN6

MAP = 5


class Map:
    """A Map is what the kernel would hold. It has room for so many entries, and may refuse."""

    def __init__(self, room: int = 100) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.room = room
        self.refusal: int | None = None
        self.calls = 0

    def put(self, map_fd: int, key: bytes, value: bytes) -> None:
        assert (map_fd, len(key), len(value)) == (MAP, 36, 44)
        self.calls += 1
        code = self.refusal or (errno.E2BIG if len(self.entries) >= self.room else None)
        if code is not None:
            raise OSError(code, os.strerror(code))
        self.entries[key] = value

    def remove(self, map_fd: int, key: bytes) -> None:
        assert map_fd == MAP
        if self.entries.pop(key, None) is None:
            raise FileNotFoundError


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Map:
    made = Map()
    monkeypatch.setattr(bpf, "put", made.put)
    monkeypatch.setattr(bpf, "remove", made.remove)
    return made


def flow(number: int, size: int = 4) -> Flow:
    key = bytes([10] * size + [11] * size) + number.to_bytes(2, "big") + b"\0\x50"
    return Flow(key, 2000 + number, b"", HAIRPIN4 if size == 4 else HAIRPIN6)


@pytest.mark.parametrize("size", [4, 16])
def test_both_directions_enter_and_leave(kernel: Map, size: int) -> None:
    flows, one = KernelFlows(MAP), flow(1, size)
    assert flows.enter(one)
    assert {key.rstrip(b"\0") for key in kernel.entries} == {one.key, one.reply_key}
    assert {value[: len(one.key)] for value in kernel.entries.values()} == {one.outbound.new, one.inbound.new}
    flows.leave(one)
    flows.leave(one)
    assert kernel.entries == {}


def test_who_leaves_takes_nothing_of_a_later_flow_with_the_same_addresses(kernel: Map) -> None:
    flows, one, other = KernelFlows(MAP), flow(1), flow(1)
    flows.enter(one)
    flows.leave(one)
    flows.enter(other)
    flows.leave(one)
    assert len(kernel.entries) == 2


def test_a_full_map_leaves_a_flow_out_and_takes_later_ones(kernel: Map) -> None:
    kernel.room = 3
    flows, one, other, third = KernelFlows(MAP), flow(1), flow(2), flow(3)
    assert [flows.enter(one), flows.enter(other)] == [True, False]
    assert len(kernel.entries) == 2, "not half of the second"
    flows.leave(one)
    assert flows.enter(third)


def test_a_kernel_that_does_not_let_us_is_not_asked_again(kernel: Map) -> None:
    kernel.refusal = errno.EPERM
    flows = KernelFlows(MAP)
    assert [flows.enter(flow(1)), flows.enter(flow(2))] == [False, False]
    assert kernel.calls == 1


def test_while_paused_none_is_in_the_map_and_then_all_that_are_left(kernel: Map) -> None:
    flows, one, other, third = KernelFlows(MAP), flow(1), flow(2), flow(3)
    flows.enter(one)
    flows.enter(other)
    flows.pause()
    assert kernel.entries == {}
    assert not flows.enter(third)
    flows.leave(one)
    assert kernel.entries == {}
    flows.resume()
    assert {key.rstrip(b"\0") for key in kernel.entries} == {other.key, other.reply_key, third.key, third.reply_key}
