"""What becomes of packets on a long line, by a clock and chances of the test's own."""

import os

from tests.lab.layout import Layout
from tests.lab.long_line import Direction, Length


def arrived(way: Direction, now_s: float) -> list[bytes]:
    reader, writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)  # packets, not a stream
    try:
        way.deliver(writer, now_s)
        os.close(writer)
        return list(iter(lambda: os.read(reader, 1500), b""))
    finally:
        os.close(reader)


def test_a_packet_takes_half_the_round_trip() -> None:
    way = Direction(chance=lambda: 0.5)
    way.take(b"packet", Length(80), now_s=1.0)
    assert way.next_due_s == 1.04
    assert arrived(way, 1.039) == []
    assert arrived(way, 1.04) == [b"packet"]


def test_as_many_are_lost_as_was_said() -> None:
    chances = iter(number / 10 for number in range(10))
    way = Direction(chance=lambda: next(chances))
    for number in range(10):
        way.take(bytes([number]), Length(0, 30.0), now_s=0.0)
    assert arrived(way, 0.0) == [bytes([number]) for number in range(3, 10)]


def test_what_comes_to_a_full_line_is_lost() -> None:
    way = Direction(chance=lambda: 0.5, limit_bytes=2)
    for packet in (b"1", b"2", b"3"):
        way.take(packet, Length(80), now_s=0.0)
    assert arrived(way, 1.0) == [b"1", b"2"]


def test_without_a_file_the_line_is_short() -> None:
    assert Length.read(Layout("never-made")) == Length()
