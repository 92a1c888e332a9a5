"""A long line between the lab's laptop and its node: each packet is late by half the round trip, and some are lost.

At either end a TUN device takes what is for the other's address, in place of the cable; the packets pass this process.
Connections that are open follow at once, and are back on the cable when it ends. It puts no cap on the bandwidth but
its own speed: packets of 1,500 bytes, some 60,000 a second of both directions together on one core (0.5 Gbit/s).

usage: python -m tests.lab.long_line NAME
"""

import fcntl
import os
import random
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cgroup, namespaces, network
from tests.lab.delay_line import DelayLine
from tests.lab.layout import Layout
from tests.lab.processes import ProcessRecord

READY = "the line is long"
LIMIT_BYTES = 64 << 20
"""What is under way in one direction; what comes then is lost, as at any router."""
MTU = 1500
PACKETS_AT_ONCE = 64
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


@dataclass(frozen=True)
class Length:
    """How long the line is, and how bad."""

    round_trip_ms: int = 0
    lost_percent: float = 0.0

    @classmethod
    def read(cls, layout: Layout) -> "Length":
        try:
            milliseconds, percent = _length_file(layout).read_text().split()
        except FileNotFoundError:
            return cls()
        return cls(int(milliseconds), float(percent))

    def write(self, layout: Layout) -> None:
        _length_file(layout).write_text(f"{self.round_trip_ms} {self.lost_percent}")


def record_file(layout: Layout) -> Path:
    return layout.run_dir / "long-line"


def _length_file(layout: Layout) -> Path:
    return layout.run_dir / "line-length"


class Direction:
    """What is under way to one end."""

    def __init__(self, chance: Callable[[], float], limit_bytes: int = LIMIT_BYTES) -> None:
        self._chance = chance
        self._line = DelayLine(limit_bytes)

    def take(self, packet: bytes, length: Length, now_s: float) -> None:
        if not self._line.is_full and self._chance() * 100 >= length.lost_percent:
            self._line.put(packet, now_s + length.round_trip_ms / 2000)

    def deliver(self, end: int, now_s: float) -> None:
        while packet := self._line.take_due(now_s):
            with suppress(OSError):  # the device is down, or its owner's queue is full
                os.write(end, packet)

    @property
    def next_due_s(self) -> float | None:
        return self._line.next_due


def carry(layout: Layout, ends: tuple[int, int]) -> None:
    """Carry packets between two TUN devices until the process is told to end."""
    length = Length.read(layout)

    def reread(*_: object) -> None:
        nonlocal length
        length = Length.read(layout)

    signal.signal(signal.SIGHUP, reread)
    chance = random.Random(layout.name).random
    ways = [(ends[0], ends[1], Direction(chance)), (ends[1], ends[0], Direction(chance))]
    while True:
        due_s = [way.next_due_s for _, _, way in ways if way.next_due_s is not None]
        select.select(ends, [], [], max(0.0, min(due_s) - time.monotonic()) if due_s else None)
        for source, target, way in ways:
            now_s = time.monotonic()
            with suppress(BlockingIOError):
                for _ in range(PACKETS_AT_ONCE):
                    way.take(os.read(source, MTU), length, now_s)
            way.deliver(target, time.monotonic())


def _tun(netns: Path) -> int:
    with namespaces.inside_netns(netns):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        name = network.LONG_LINE.encode()
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name, IFF_TUN | IFF_NO_PI))
    return descriptor


def main(name: str) -> None:
    layout = Layout(name)
    cgroup.ControlGroups.read(layout.cgroups_file).join("laptop")
    ends = _tun(layout.laptop_netns_path), _tun(layout.node_netns_path)
    network.lay_long_line(layout, MTU)
    ProcessRecord.of(os.getpid()).write(record_file(layout))
    print(READY, flush=True)
    with suppress(KeyboardInterrupt):
        carry(layout, ends)


if __name__ == "__main__":
    main(sys.argv[1])
