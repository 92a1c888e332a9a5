"""What passes is read later, as it was when it came."""

import asyncio
from collections.abc import Callable

from ktpy.inspect.draft import Clock
from ktpy.link.taps import Tap
from ktpy.serve.late_reading import LATE_S, LIMIT_BYTES, TURN_S, LateReading


class Noting:
    """A tap that notes what it reads, and when that came."""

    def __init__(self, name: str, clock: Clock, scene: "Scene") -> None:
        self._name, self._clock, self._scene = name, clock, scene

    def asked(self, data: bytes) -> None:
        self._note("asked", data)

    def answered(self, data: bytes) -> None:
        self._note("answered", data)

    def ended(self) -> None:
        self._note("ended", b"")

    def _note(self, what: str, data: bytes) -> None:
        self._scene.read.append((self._name, what, data, self._clock()))
        self._scene.has_read.set()
        self._scene.now_s += self._scene.takes_s


class Scene:
    """A LateReading under a clock that the test moves."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str, bytes, float]] = []
        self.has_read = asyncio.Event()
        self.now_s = 0.0
        self.takes_s = 0.0
        """How long each piece takes to read."""
        self.late = LateReading(lambda: self.now_s)

    def tap(self, name: str) -> Tap:
        return self.late.tap(self._noting(name))

    def _noting(self, name: str) -> Callable[[Clock], Tap]:
        return lambda clock: Noting(name, clock, self)


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
    assert [what for _, what, _, _ in scene.read] == ["asked"]


async def test_what_else_is_to_be_done_comes_between_pieces_that_take_long() -> None:
    scene = Scene()
    tap = scene.tap("one")
    scene.takes_s = TURN_S / 2
    for piece in (b"a", b"b", b"c"):
        tap.asked(piece)
    await scene.has_read.wait()
    assert [piece for _, _, piece, _ in scene.read] == [b"a", b"b"]
    await asyncio.sleep(0)
    assert [piece for _, _, piece, _ in scene.read] == [b"a", b"b", b"c"]


async def test_what_is_forgotten_is_not_read() -> None:
    scene = Scene()
    tap = scene.tap("one")
    tap.asked(b"a")
    scene.late.forget()
    await asyncio.sleep(LATE_S * 1.5)
    assert scene.read == []
    tap.asked(b"b")
    await scene.has_read.wait()
    assert [piece for _, _, piece, _ in scene.read] == [b"b"]
