import random
import struct
from ipaddress import ip_address

import pytest

from ktpy.wire.datagram import (
    BEAT,
    DATAGRAM,
    ECHO,
    FAILED,
    HEADER,
    NOWHERE,
    TAIL,
    Failure,
    Frame,
    FrameParser,
    beat,
    dropped_in,
    mapped,
    unmapped,
)

TARGET = mapped(ip_address("10.96.0.10").packed)
FRAMES = [
    Frame(DATAGRAM, 1, 53, TARGET, b"question"),
    Frame(DATAGRAM, 2**32 - 1, 65535, ip_address("fd96::10").packed, b""),
    Frame(ECHO, 7, 3, TARGET, b"x" * 56),
    Frame(FAILED, 1, 53, TARGET, Failure(3, 3, TARGET).encoded()),
    Frame(DATAGRAM, 3, 4, TARGET, bytes(2000)),
]
LARGEST = Frame(DATAGRAM, 3, 4, TARGET, bytes(65507))


def test_the_form_on_the_wire() -> None:
    """It must not change: the agent may be of another version."""
    expected = "0002" + "01" + "00000005" + "0035" + "00000000000000000000ffff0a60000a" + "6869"
    assert Frame(DATAGRAM, 5, 53, TARGET, b"hi").encoded().hex() == expected
    assert HEADER.size == 2 + TAIL.size == 25


@pytest.mark.parametrize("most_bytes", [1, 24, 25, 26, 1000, 200000])
def test_however_the_stream_is_cut(most_bytes: int) -> None:
    frames = [*FRAMES, *FRAMES] if most_bytes < 1000 else [*FRAMES, LARGEST, *FRAMES, LARGEST]
    stream, reader, found = b"".join(frame.encoded() for frame in frames), FrameParser(), []
    cuts = random.Random(most_bytes)
    while stream:
        size = cuts.randint(1, most_bytes)
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == frames


def test_a_payload_that_no_datagram_has() -> None:
    with pytest.raises(struct.error):
        Frame(DATAGRAM, 1, 53, TARGET, bytes(65536)).encoded()


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1", "::1"])
def test_both_families_in_one_field(text: str) -> None:
    packed = ip_address(text).packed
    assert len(mapped(packed)) == 16
    assert unmapped(mapped(packed)) == packed


def test_a_failure() -> None:
    failure = Failure(1, 4, NOWHERE)
    assert Failure.parse(failure.encoded()) == failure
    with pytest.raises(ValueError, match="18 bytes, not 3"):
        Failure.parse(b"abc")


def test_beats() -> None:
    laptop, agent = FrameParser().feed(beat() + beat(12))
    assert laptop.kind == agent.kind == BEAT
    assert (dropped_in(laptop), dropped_in(agent)) == (0, 12)
