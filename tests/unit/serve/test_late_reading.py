"""What passes is read later, as it was when it came."""

import asyncio
from collections.abc import Callable

from ktpy.inspect.draft import Clock
from ktpy.link.taps import Tap
from ktpy.serve.late_reading import LATE_S, LIMIT_BYTES, LateReading


class Noting:
    """A tap that notes what it reads, and when that came."""

    def __init__(self, name: str, clock: Clock, read: list[tuple[str, str, bytes, float]]) -> None:
        self._name, self._clock, self._read = name, clock, read

    def asked(self, data: bytes) -> None:
        self._read.append((self._name, "asked", data, self._clock()))

    def answered(self, data: bytes) -> None:
        self._read.append((self._name, "answered", data, self._clock()))

    def ended(self) -> None:
        self._read.append((self._name, "ended", b"", self._clock()))


class Scene:
    """A LateReading under a clock that the test moves."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str, bytes, float]] = []
        self.now_s = 0.0
        self.late = LateReading(lambda: self.now_s)

    def tap(self, name: str) -> Tap:
        return self.late.tap(self._noting(name))

    def _noting(self, name: str) -> Callable[[Clock], Tap]:
        return lambda clock: Noting(name, clock, self.read)


async def test_pieces_of_all_connections_are_read_later_in_their_order() -> None:
    scene = Scene()
    one, other = scene.tap("one"), scene.tap("other")
    one.asked(b"a")
    scene.now_s = 1.0
    other.asked(b"b")
    scene.now_s = 2.0
    one.answered(b"c")
    one.ended()
    scene.now_s = 3.0
    assert scene.read == []
    await asyncio.sleep(LATE_S * 1.5)
    assert scene.read == [
        ("one", "asked", b"a", 0.0),
        ("other", "asked", b"b", 1.0),
        ("one", "answered", b"c", 2.0),
        ("one", "ended", b"", 2.0),
    ]
    other.answered(b"d")
    await asyncio.sleep(LATE_S * 1.5)
    assert scene.read[4:] == [("other", "answered", b"d", 3.0)]


async def test_what_is_much_is_read_at_once() -> None:
    scene = Scene()
    tap = scene.tap("one")
    tap.asked(bytes(LIMIT_BYTES))
    assert scene.read == []
    tap.answered(b"x")
    assert [what for _, what, _, _ in scene.read] == ["asked", "answered"]


async def test_what_is_forgotten_is_not_read() -> None:
    scene = Scene()
    tap = scene.tap("one")
    tap.asked(b"a")
    scene.late.forget()
    await asyncio.sleep(LATE_S * 1.5)
    assert scene.read == []
    tap.asked(b"b")
    scene.late.read()
    assert [piece for _, _, piece, _ in scene.read] == [b"b"]
