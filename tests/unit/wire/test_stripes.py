"""A stream over several stripes: whatever it is cut into, and whichever stripe is slow, it arrives as it was sent."""

import random
import struct
from collections import deque

import pytest

from ktpy.wire.stripes import (
    ANSWER_BYTES,
    FRAME_BYTES,
    HEADER_BYTES,
    MOST_BYTES,
    Incoming,
    Outgoing,
    answer,
    parse_answer,
)


def test_the_form_on_the_wire() -> None:
    """It must not change: the agent may be of another version."""
    outgoing = Outgoing()
    assert outgoing.header(0x1234).hex() == "00000000" + "00001234"
    assert outgoing.end().hex() == "00000001" + "00000000"
    assert answer(111).hex() == "0000006f"
    assert outgoing.retire().hex() == "00000000" + "ffffffff"
    assert (HEADER_BYTES, ANSWER_BYTES, HEADER_BYTES + FRAME_BYTES) == (8, 4, 65536)


@pytest.mark.parametrize("error", [0, 111])
def test_an_answer_and_back(error: int) -> None:
    assert parse_answer(answer(error)) == error


class Line:
    """Stripes that deliver at random, in pieces of any size, and only to whoever reads."""

    def __init__(self, chance: random.Random, stripes: int) -> None:
        self.chance = chance
        self.outgoing, self.incoming = Outgoing(), Incoming()
        self.under_way: list[deque[int]] = [deque() for _ in range(stripes)]
        self.arrived = b""
        self.incoming.add(0)
        self.joined = 1

    def send(self, data: bytes) -> None:
        stripe = self.chance.randrange(self.joined)
        self.under_way[stripe] += self.outgoing.header(len(data)) + data

    def join(self) -> None:
        if self.joined < len(self.under_way):
            self.incoming.add(self.joined)
            self.joined += 1

    def readable(self) -> list[int]:
        return [
            stripe for stripe in range(self.joined) if self.under_way[stripe] and not self.incoming.is_ahead(stripe)
        ]

    def deliver(self, stripe: int, most_bytes: int) -> None:
        way = self.under_way[stripe]
        count = self.chance.randint(1, min(most_bytes, len(way)))
        self.arrived += self.incoming.feed(stripe, bytes(way.popleft() for _ in range(count)))


@pytest.mark.parametrize("stripes", [1, 2, 4])
@pytest.mark.parametrize("seed", range(40))
def test_it_arrives_in_order_and_whole(seed: int, stripes: int) -> None:
    chance = random.Random(seed)
    line = Line(chance, stripes)
    most_bytes = chance.choice((1, 7, 100, 4000))
    sent = b""
    for _ in range(chance.randint(0, 60)):
        data = chance.randbytes(chance.choice((1, 2, 50, 1000)))
        sent += data
        line.send(data)
        if chance.random() < 0.2:
            line.join()
        for stripe in line.readable():
            if chance.random() < 0.5:
                line.deliver(stripe, most_bytes)
        assert sent.startswith(line.arrived)
    line.under_way[0] += line.outgoing.end() + b"the next one's opening"
    while readable := line.readable():
        assert not line.incoming.has_ended
        line.deliver(chance.choice(readable), most_bytes)
        if line.incoming.has_ended:
            break
    assert line.arrived == sent
    assert line.incoming.has_ended
    assert line.incoming.take_rest(0) + bytes(line.under_way[0]) == b"the next one's opening"
    assert [bytes(way) for way in line.under_way[1:]] == [b""] * (stripes - 1)


def test_what_is_ahead_is_not_read_until_what_comes_before_it_has_come() -> None:
    outgoing, incoming = Outgoing(), Incoming()
    first, second = outgoing.header(2) + b"ab", outgoing.header(2) + b"cd"
    incoming.add("one")
    incoming.add("other")
    assert incoming.feed("other", second[:-1]) == b""
    assert (incoming.is_ahead("one"), incoming.is_ahead("other")) == (False, True)
    assert incoming.feed("one", first) == b"abc"
    assert (incoming.is_ahead("one"), incoming.is_ahead("other")) == (False, False)
    assert incoming.feed("other", second[-1:]) == b"d"


def test_the_number_after_the_last_one_is_0() -> None:
    outgoing, incoming = Outgoing(), Incoming()
    outgoing._next = incoming._next = 2**32 - 1
    incoming.add(0)
    assert incoming.feed(0, outgoing.header(1) + b"a" + outgoing.header(1) + b"b") == b"ab"


def test_a_frame_that_is_too_long() -> None:
    incoming = Incoming()
    incoming.add(0)
    with pytest.raises(ValueError, match=f"a frame of {MOST_BYTES + 1} bytes is too long"):
        incoming.feed(0, struct.pack("!II", 0, MOST_BYTES + 1))


class TestAStripeIsRetired:
    def setup_method(self) -> None:
        self.outgoing, self.incoming = Outgoing(), Incoming()
        for stripe in ("one", "other"):
            self.incoming.add(stripe)

    @pytest.mark.parametrize("cut", range(HEADER_BYTES + 1))
    def test_what_was_sent_on_it_before_arrives(self, cut: int) -> None:
        first = self.outgoing.header(1) + b"a"
        assert self.incoming.feed("other", self.outgoing.header(1) + b"b" + self.outgoing.retire()[:cut]) == b""
        assert self.incoming.feed("one", first) == b"ab"
        assert self.incoming.feed("other", self.outgoing.retire()[cut:]) == b""
        assert self.incoming.retired == {"other"}
        assert self.incoming.drop("other")
        assert self.incoming.feed("one", self.outgoing.header(1) + b"c") == b"c"
        assert self.incoming.retired == set()

    def test_between_frames_of_another(self) -> None:
        whole = self.outgoing.header(2) + b"ab"
        assert self.incoming.feed("one", whole[:-1]) == b"a"
        assert self.incoming.feed("other", self.outgoing.retire()) == b""
        assert self.incoming.feed("one", whole[-1:]) == b"b"
        assert self.incoming.retired == {"other"}


@pytest.mark.parametrize(("count", "is_between"), [(0, True), (3, False), (8, False), (9, False), (10, True)])
def test_a_stripe_ends(count: int, is_between: bool) -> None:
    outgoing, incoming = Outgoing(), Incoming()
    incoming.add(0)
    incoming.feed(0, (outgoing.header(2) + b"ab")[:count])
    assert incoming.drop(0) is is_between


def test_a_stripe_ends_ahead_of_others() -> None:
    outgoing, incoming = Outgoing(), Incoming()
    incoming.add("one")
    incoming.add("other")
    first = outgoing.header(1) + b"a"
    assert incoming.feed("other", outgoing.header(1) + b"b") == b""
    assert incoming.drop("other")
    assert incoming.feed("one", first) == b"ab"


def test_what_is_taken_past_it() -> None:
    outgoing, incoming = Outgoing(), Incoming()
    for stripe in ("one", "other"):
        incoming.add(stripe)
    assert incoming.expected("one") == 0
    assert incoming.feed("one", outgoing.header(5) + b"ab") == b"ab"
    assert (incoming.expected("one"), incoming.expected("other")) == (3, 0)
    assert incoming.feed("other", outgoing.header(1) + b"f") == b""
    incoming.take(3)
    assert incoming.feed("one", b"") == b"f"
    assert incoming.expected("one") == 0
