import pytest

from ktpy.wire.sync.inotify import Seen
from ktpy.wire.sync.watch import LONGEST_S, QUIET_S, WRITTEN_S, Watch, next_look_s


def seen(*folders: bytes, written: set[bytes] | None = None, is_all: bool = False) -> Seen:
    return Seen(set(folders), written or set(), is_all)


def test_nothing_is_due_while_nothing_changes() -> None:
    watch = Watch()
    watch.take(seen(), 1.0)
    assert watch.due_s == float("inf")


def test_a_change_is_looked_at_once_it_is_quiet() -> None:
    watch = Watch()
    watch.take(seen(b"a"), 1.0)
    watch.take(seen(b"b"), 1.01)
    assert watch.due_s == pytest.approx(1.01 + QUIET_S)
    assert watch.due() == ({b"a", b"b"}, False)
    assert watch.due_s == float("inf")


def test_changes_without_end_are_looked_at_meanwhile() -> None:
    watch = Watch()
    for tick in range(100):
        watch.take(seen(b"a"), tick / 100)
    assert watch.due_s == pytest.approx(LONGEST_S)


def test_a_file_that_is_being_written_waits() -> None:
    watch = Watch()
    watch.take(seen(written={b"d"}), 1.0)
    watch.take(seen(written={b"d"}), 1.5)
    assert watch.due_s == pytest.approx(1.0 + WRITTEN_S)
    assert watch.due() == ({b"d"}, False)


def test_lost_events_make_everything_due() -> None:
    watch = Watch()
    watch.take(seen(is_all=True), 1.0)
    assert watch.due() == (set(), True)


def test_without_inotify_looking_takes_a_tenth_of_the_time() -> None:
    assert next_look_s(0.0, 0.01) == pytest.approx(1.01)
    assert next_look_s(0.0, 2.0) == pytest.approx(22.0)
