"""What passes is shown after it has passed, as it passed; and while nobody watches, nothing is in its way."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.inspect.connection import WatchedConnection
from ktpy.link.forwards import PodEnd
from ktpy.link.taps import Taps
from tests.unit.link.test_splice import Transport, connected

HTTP = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"


class Shown:
    """A tap that notes what it is shown."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, bytes]] = []

    def asked(self, data: bytes) -> None:
        self.notes.append(("asked", data))

    def answered(self, data: bytes) -> None:
        self.notes.append(("answered", data))

    def ended(self) -> None:
        self.notes.append(("ended", b""))


class Joined:
    """A connection between a channel and a local port."""

    def __init__(self, taps: Taps, early: bytes = b"") -> None:
        self.local, self.at_local = connected()
        if early:
            self.local.data_received(early)
        self.pod, self.at_pod = PodEnd(self.local, taps), Transport()
        self.pod.connection_made(self.at_pod)  # type: ignore[arg-type]

    @property
    def is_direct(self) -> bool:
        """Whether each end writes by the other's transport itself, with no call between."""
        return (self.pod._write, self.local._write) == (self.at_local.write, self.at_pod.write)


def test_while_nobody_watches_there_is_no_call_more() -> None:
    taps = Taps()
    joined = Joined(taps)
    assert joined.is_direct
    taps.begin(lambda _: Shown())
    assert not joined.is_direct
    taps.end()
    assert joined.is_direct
    assert Joined(taps).is_direct


def test_what_passes_is_shown() -> None:
    taps, shown = Taps(), Shown()
    taps.begin(lambda is_new: shown if is_new else Shown())
    joined = Joined(taps)
    joined.pod.data_received(b"there")
    joined.local.data_received(b"back")
    joined.pod.connection_lost(None)
    assert (joined.at_local.calls[1], joined.at_pod.calls[0]) == (b"there", b"back")
    assert shown.notes == [("asked", b"there"), ("answered", b"back"), ("ended", b"")]
    assert len(taps) == 0


def test_it_is_shown_after_it_has_passed() -> None:
    taps = Taps()
    joined = Joined(taps)
    order: list[bytes] = []

    class Noted(Shown):
        def asked(self, data: bytes) -> None:
            order.extend(joined.at_local.calls[1:])

    taps.begin(lambda _: Noted())
    joined.pod.data_received(b"there")
    assert order == [b"there"]


def test_what_a_server_said_before_all_is_shown_too() -> None:
    taps, shown = Taps(), Shown()
    taps.begin(lambda _: shown)
    Joined(taps, early=b"hello")
    assert shown.notes == [("answered", b"hello")]


@pytest.mark.parametrize("is_open", [True, False])
def test_a_connection_from_before_is_told_apart(is_open: bool) -> None:
    taps, told = Taps(), []
    if is_open:
        Joined(taps)
    taps.begin(lambda is_new: told.append(is_new) or Shown())  # type: ignore[func-returns-value]
    Joined(taps)
    assert told == ([False, True] if is_open else [True])


def test_an_end_that_is_lost_stays_silent() -> None:
    """A closed transport of uvloop's raises at each write."""
    taps, shown = Taps(), Shown()
    joined = Joined(taps)
    joined.local.connection_lost(None)
    taps.begin(lambda _: shown)
    joined.pod.data_received(b"late")
    taps.end()
    joined.pod.data_received(b"late")
    assert b"late" not in joined.at_local.calls


def test_a_viewer_that_goes_and_comes_again() -> None:
    taps, first, second = Taps(), Shown(), Shown()
    joined = Joined(taps)
    for shown in (first, second):
        taps.begin(lambda _, shown=shown: shown)  # type: ignore[misc]
        joined.pod.data_received(b"a")
        taps.end()
    assert (first.notes, second.notes) == ([("asked", b"a")], [("asked", b"a")])


@settings(deadline=None, max_examples=60)
@given(
    st.one_of(st.binary(), st.binary().map(lambda noise: HTTP + noise)), st.lists(st.integers(0, 200)), st.booleans()
)
def test_the_bytes_that_leave_are_those_that_came(stream: bytes, cuts: list[int], is_new: bool) -> None:
    """Whatever they are: HTTP, or noise that ends the watching."""
    taps = Taps()
    before = None if is_new else Joined(taps)
    taps.begin(lambda is_new: WatchedConnection(lambda _: None, lambda _: None, is_new=is_new))
    joined = before or Joined(taps)
    at = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    for begin, end in pairwise(at):
        joined.pod.data_received(stream[begin:end])
        joined.local.data_received(stream[begin:end])
    came = [
        [one for one in transport.calls if isinstance(one, bytes)] for transport in (joined.at_local, joined.at_pod)
    ]
    assert came == [[stream[begin:end] for begin, end in pairwise(at)]] * 2
