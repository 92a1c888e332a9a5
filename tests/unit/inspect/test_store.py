"""What is kept is bounded."""

from dataclasses import replace

from ktpy.inspect.record import HttpMessage
from ktpy.inspect.store import RequestStore, size_of
from tests.kit.watched import REQUEST


def test_the_oldest_is_forgotten() -> None:
    store = RequestStore(10 * size_of(REQUEST))
    for number in range(1, 21):
        store.keep(replace(REQUEST, id=number))
    assert [one.id for one in store] == list(range(11, 21))
    assert store.get(10) is None
    assert store.get(20) == replace(REQUEST, id=20)


def test_what_is_told_again_takes_the_place_of_what_was() -> None:
    store = RequestStore(2 * size_of(REQUEST))
    for _ in range(5):
        store.keep(REQUEST)
        store.keep(replace(REQUEST, id=8))
    assert len(store) == 2


def test_large_bodies_count() -> None:
    store = RequestStore(300_000)
    large = replace(REQUEST, answer=HttpMessage((), 65_536, bytes(65_536)))
    for number in range(10):
        store.keep(replace(large, id=number))
    assert len(store) == 4
