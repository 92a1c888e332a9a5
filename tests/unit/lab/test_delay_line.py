"""The delay line, by a clock of the test's own."""

from tests.lab.delay_line import DelayLine


def drain(line: DelayLine, now: float) -> list[bytes]:
    chunks = []
    while (chunk := line.take_due(now)) is not None:
        chunks.append(chunk)
    return chunks


def test_nothing_comes_out_before_its_time() -> None:
    line = DelayLine(100)
    line.put(b"a", due=1.0)
    assert drain(line, 0.999) == []
    assert drain(line, 1.0) == [b"a"]


def test_chunks_of_the_same_moment_come_out_together() -> None:
    line = DelayLine(100)
    for chunk in (b"a", b"b", b"c"):
        line.put(chunk, due=1.0)
    assert drain(line, 1.0) == [b"a", b"b", b"c"]


def test_a_shorter_delay_does_not_overtake() -> None:
    line = DelayLine(100)
    line.put(b"first", due=2.0)
    line.put(b"second", due=1.0)
    assert drain(line, 1.5) == []
    assert drain(line, 2.0) == [b"first", b"second"]


def test_next_due_is_the_oldest_chunks() -> None:
    line = DelayLine(100)
    assert line.next_due is None
    line.put(b"a", due=1.0)
    line.put(b"b", due=2.0)
    assert line.next_due == 1.0


def test_full_at_the_limit_and_not_after_taking() -> None:
    line = DelayLine(limit_bytes=4)
    line.put(b"abc", due=1.0)
    assert not line.is_full
    line.put(b"d", due=1.0)
    assert line.is_full
    line.take_due(1.0)
    assert not line.is_full
    assert line.size_bytes == 1
