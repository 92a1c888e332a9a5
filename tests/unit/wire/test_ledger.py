"""Each direction of a kept connection: random writes, and links that are cut at any byte."""

import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from ktpy.wire.ledger import LITTLE_BYTES, LITTLE_TURNS, MIN_RING_BYTES, PIECE_COST_BYTES, Budget, Incoming, Outgoing


@dataclass
class Direction:
    """A sender, a receiver, and the link between them, which loses what is under way when it is cut."""

    outgoing: Outgoing
    incoming: Incoming = field(default_factory=Incoming)
    written: bytes = b""
    delivered: bytes = b""
    under_way: deque[bytes] = field(default_factory=deque)
    acknowledgements: deque[int] = field(default_factory=deque)

    def write(self, data: bytes) -> None:
        if self.outgoing.is_full:
            return
        self.written += data
        self.outgoing.take(data)
        self.under_way.append(data)

    def deliver(self, count: int) -> None:
        """Let that many bytes arrive, whatever pieces they were sent in."""
        while count and self.under_way:
            piece = self.under_way.popleft()
            arrives, rest = piece[:count], piece[count:]
            if rest:
                self.under_way.appendleft(rest)
            self.delivered += arrives
            self.incoming.received += len(arrives)
            count -= len(arrives)

    def acknowledge(self) -> None:
        self.acknowledgements.append(self.incoming.received)

    def hear(self) -> None:
        if self.acknowledgements:
            self.outgoing.acknowledge(self.acknowledgements.popleft())

    def cut(self) -> bool:
        """Lose all that is under way, then go on over another link; return whether that was possible."""
        self.under_way.clear()
        self.acknowledgements.clear()
        again = self.outgoing.resume(self.incoming.received)
        if again is not None:
            self.under_way.extend(again)
        return again is not None


def play(direction: Direction, chance: random.Random) -> bool:
    """Let up to 60 things happen; return whether the connection lived through all of them."""
    for _ in range(chance.randrange(60)):
        match chance.randrange(5):
            case 0:
                direction.write(chance.randbytes(chance.randint(1, 40)))
            case 1:
                direction.deliver(chance.randint(1, 60))
            case 2:
                direction.acknowledge()
            case 3:
                direction.hear()
            case _ if not direction.cut():
                return False
        assert direction.written.startswith(direction.delivered)
    direction.deliver(len(direction.written))
    return True


def test_every_byte_in_order_and_none_twice() -> None:
    for seed in range(2000):
        budget = Budget()
        full = budget.left_bytes
        direction = Direction(Outgoing(budget))
        assert play(direction, random.Random(seed)), f"{seed}: what is held is far below the bound"
        assert direction.delivered == direction.written, seed
        direction.outgoing.acknowledge(direction.incoming.received)
        assert budget.left_bytes == full, "what has arrived is held no more"


def test_whoever_outruns_the_bound_gives_up_the_promise_and_nothing_else() -> None:
    outcomes = set()
    for seed in range(2000):
        chance = random.Random(seed)
        ring_bytes, total_bytes = chance.randint(1, 1500), chance.randrange(1500)
        budget = Budget(total_bytes)
        direction, other = Direction(Outgoing(budget, ring_bytes)), Outgoing(budget, ring_bytes)
        other.take(b"another connection's")
        lives = play(direction, chance)
        outcomes.add((lives, direction.outgoing.is_kept))
        if lives:
            assert direction.delivered == direction.written, seed
        assert budget.left_bytes <= total_bytes
        direction.outgoing.release()
        other.release()
        assert budget.left_bytes == total_bytes
    assert outcomes == {(True, True), (True, False), (False, False)}


def test_whoever_is_too_fast_goes_on_without_the_promise_until_it_has_caught_up() -> None:
    outgoing = Outgoing(Budget(), 100)
    outgoing.take(bytes(100))
    assert outgoing.is_full
    assert outgoing.acknowledge(50), "the link is alive"
    assert not outgoing.is_full
    outgoing.take(b"x")
    outgoing.take_unheld(1)
    assert not outgoing.acknowledge(101)
    assert not outgoing.is_kept
    assert outgoing.resume(101) is None
    assert not outgoing.acknowledge(102)
    assert outgoing.is_kept
    outgoing.take(b"z")
    assert outgoing.resume(102) == [b"z"]


def test_a_link_that_is_lost_is_no_reason_to_give_up_the_promise() -> None:
    outgoing = Outgoing(Budget(), 100)
    outgoing.take(bytes(100))
    assert outgoing.resume(60) == [bytes(40)]
    assert outgoing.is_kept


def test_who_had_everything_was_not_too_fast() -> None:
    outgoing = Outgoing(Budget(), 100)
    outgoing.take(bytes(100))
    assert not outgoing.acknowledge(100)
    assert outgoing.is_kept


def test_where_others_hold_too_much_a_little_may_still_be_under_way() -> None:
    budget = Budget(10)
    outgoing = Outgoing(budget)
    Outgoing(budget).take(bytes(100))
    outgoing.take(bytes(1000))
    assert not outgoing.is_full, "nothing would ever be acknowledged"
    outgoing.take(bytes(MIN_RING_BYTES))
    assert outgoing.is_full


def test_small_pieces_cost_what_they_take() -> None:
    outgoing = Outgoing(Budget(), 10 * (2 + PIECE_COST_BYTES))
    for _ in range(10):
        assert not outgoing.is_full
        outgoing.take(b"ab")
    assert outgoing.is_full


def test_a_receiver_that_says_what_cannot_be() -> None:
    outgoing = Outgoing(Budget())
    outgoing.take(b"abc")
    outgoing.acknowledge(2)
    outgoing.acknowledge(1)
    assert outgoing.acknowledged == 2, "acknowledgements may overtake each other"
    with pytest.raises(ValueError, match="4 bytes are acknowledged of 3"):
        outgoing.acknowledge(4)
    with pytest.raises(ValueError, match="1 bytes are said to have arrived, and 2 were before"):
        outgoing.resume(1)


def test_the_end_of_a_stream() -> None:
    incoming = Incoming()
    incoming.received = 5
    incoming.end_at(7)
    assert not incoming.is_complete
    incoming.end_at(7)
    incoming.received = 7
    assert incoming.is_complete
    with pytest.raises(ValueError, match="cannot end at 8"):
        incoming.end_at(8)
    with pytest.raises(ValueError, match="a stream of 7 bytes so far cannot end at 6"):
        incoming.end_at(6)


def test_little_is_acknowledged_later_than_much() -> None:
    incoming = Incoming()
    incoming.received = LITTLE_BYTES - 1
    assert [incoming.is_due() for _ in range(LITTLE_TURNS)] == [False] * (LITTLE_TURNS - 1) + [True]
    incoming.received += LITTLE_BYTES
    assert incoming.is_due()
