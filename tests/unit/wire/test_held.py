import random

import pytest

from ktpy.wire import held
from ktpy.wire.held import Account, Frame, parse_size, size_content


class Line:
    """Two accounts, and what is under way between them, of which a cut loses any part."""

    def __init__(self, chance: random.Random, ring_bytes: int = 200) -> None:
        self.chance = chance
        self.ends = Account(ring_bytes), Account(ring_bytes)
        self.heard: tuple[list[Frame], list[Frame]] = ([], [])
        self.under_way = [b"", b""]
        """To each end."""
        self.is_taken = True
        """Whether what is heard is taken by whom it is for."""
        self.begin()

    def begin(self) -> None:
        self.under_way = [self.ends[1].begin(), self.ends[0].begin()]

    def say(self, end: int, kind: int, content: bytes) -> None:
        self.under_way[1 - end] += self.ends[end].say(kind, content)

    def deliver(self, end: int, count: int) -> None:
        data, self.under_way[end] = self.under_way[end][:count], self.under_way[end][count:]
        for frame in self.ends[end].hear(data):
            if frame.kind == held.RESUME:
                self.under_way[1 - end] += self.ends[end].rest()
            else:
                self.heard[end].append(frame)
                self.ends[end].waiting_bytes += 0 if self.is_taken else len(frame.content)
        self.under_way[1 - end] += self.ends[end].acknowledgement()

    def deliver_all(self) -> None:
        while self.under_way != [b"", b""]:
            for end in (0, 1):
                self.deliver(end, 1 << 20)


@pytest.mark.parametrize("seed", range(50))
def test_every_frame_arrives_once_whatever_is_cut(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "ACKNOWLEDGE_BYTES", 40)
    line = Line(chance := random.Random(seed))
    said: tuple[list[Frame], list[Frame]] = ([], [])
    for _ in range(300):
        end = chance.randrange(2)
        match chance.randrange(8):
            case 0:
                line.begin()
            case 1 | 2 | 3 if not line.ends[end].is_full:
                frame = Frame(held.OUTPUT, chance.randbytes(chance.randrange(30)))
                line.say(end, *frame)
                said[end].append(frame)
            case _:
                line.deliver(end, chance.randrange(60))
    line.begin()
    line.deliver_all()
    assert (line.heard[1], line.heard[0]) == said
    assert [one.missed_bytes for one in line.ends] == [0, 0]


def test_what_nobody_takes_is_bounded_however_many_links_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "ACKNOWLEDGE_BYTES", 40)
    line = Line(random.Random())
    line.is_taken = False
    speaker, hearer = line.ends
    for _ in range(20):
        line.begin()
        line.deliver_all()
        while not speaker.is_full:
            line.say(0, held.INPUT, bytes(15))
            line.deliver_all()
    assert 150 < hearer.waiting_bytes <= 215
    hearer.waiting_bytes = 0
    line.under_way[0] += hearer.acknowledgement()
    line.deliver_all()
    assert not speaker.is_full


def test_what_a_terminal_has_printed_last_is_what_is_left() -> None:
    line = Line(random.Random())
    line.deliver_all()
    line.say(1, held.OUTPUT, b"seen")
    line.deliver_all()
    line.ends[1].is_resumed = False
    for number in range(100):
        line.say(1, held.OUTPUT, b"%d" % number)
        line.ends[1].forget_oldest()
    assert not line.ends[1].is_full or line.ends[1].missed_bytes == 0
    line.begin()
    line.deliver_all()
    numbers = [int(frame.content) for frame in line.heard[0][1:]]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 20
    assert line.ends[0].missed_bytes == sum(len(Frame(held.OUTPUT, b"%d" % one).encoded()) for one in range(numbers[0]))


@pytest.mark.parametrize(
    "said",
    [
        Frame(held.RECEIVED, b"short"),
        Frame(held.RESUME, b""),
        Frame(held.RECEIVED, (1).to_bytes(8, "big")),
        Frame(held.OUTPUT, bytes(held.MAX_FRAME_BYTES + 1)),
    ],
)
def test_what_no_end_of_ours_says(said: Frame) -> None:
    with pytest.raises(ValueError, match=r".+"):
        list(Account().hear(said.encoded()))


def test_the_size_of_a_terminal() -> None:
    assert parse_size(size_content(97, 31)) == (97, 31)
    assert parse_size(size_content(1 << 20, 1)) == (0xFFFF, 1)
    with pytest.raises(ValueError, match="a size has 1 bytes"):
        parse_size(b"x")
