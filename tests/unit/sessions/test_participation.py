"""The stages of a session in the cluster, in order, and what is undone from wherever it stops."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ktpy.cluster.changes.change import ClusterChange
from ktpy.cluster.sharing.lease import EXPIRED_AFTER_S
from ktpy.cluster.steps import Step
from ktpy.errors import KtpyError, RestoreIncomplete, RouteTaken, SessionLost, TargetAbsent
from ktpy.sessions.participation import Callbacks, Participation

STAGES = ["claim a lease", "prepare", "first route", "redirect", "served"]
ENTERED = ["record", "routes", *STAGES, "standing"]
LEFT = ["leaving", "restore", "release", "left", "routes end", "record ends"]


class World:
    """One session of fakes. `course` tells what happens; any stage can be held up, or fail."""

    def __init__(self) -> None:
        self.course: list[str] = []
        self.at: dict[str, Callable[[], Awaitable[None]]] = {}
        """What a stage does besides being told."""
        self.silence_s = 0.0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends the renewal of the Lease."""
        self.ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.standing = asyncio.Event()
        self.is_leaving = False
        steps = {name: Step(name, lambda name=name: self.stage(name)) for name in ("prepare", "redirect")}  # type: ignore[misc]
        self.change = ClusterChange(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            preparation=(steps["prepare"],),
            redirection=(steps["redirect"],),
            exit=(Step("restore", lambda: self.stage("restore")), Step("release", lambda: self.stage("release"))),
            guard=self.guard,
        )

    async def stage(self, name: str) -> None:
        if name in self.at:
            await self.at[name]()
        self.course.append(name)

    # --- the Lease

    async def claim(self) -> None:
        await self.stage("claim a lease")

    async def keep(self, on_trouble: Callable[[float, KtpyError], None], _down: object) -> None:
        await self.lost

    # --- the routes

    def local_down(self) -> list[str]:
        return []

    async def run(self) -> None:
        self.course.append("routes")
        try:
            await self.at.get("routes", forever)()
        finally:
            self.course.append("routes end")

    async def first(self) -> None:
        await self.stage("first route")

    async def served(self) -> None:
        await self.stage("served")

    async def guard(self, on_notice: Callable[[str], None]) -> None:
        await self.at.get("guard", forever)()

    @contextmanager
    def record(self) -> Iterator[None]:
        self.course.append("record")
        try:
            yield
        finally:
            self.course.append("record ends")

    def stand(self) -> None:
        self.course.append("standing")
        self.standing.set()

    # --- the test

    async def take_part(self) -> int | None:
        def unheard(_: object, __: object = None) -> None:
            """Nobody asks."""

        leaving, left = (lambda name=name: self.course.append(name) for name in ("leaving", "left"))
        callbacks = Callbacks(unheard, unheard, unheard, self.stand, leaving, left)
        made = Participation(self.change, self, self.record(), callbacks)  # type: ignore[arg-type]
        ending = asyncio.ensure_future(self._end())
        try:
            return await made.run(ending)
        finally:
            ending.cancel()

    async def _end(self) -> int:
        return await self.ending


async def forever() -> None:
    await asyncio.Event().wait()


def failing(error: Exception) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


@pytest.fixture
async def world() -> World:
    return World()


async def test_it_enters_stands_and_leaves(world: World) -> None:
    taking_part = asyncio.create_task(world.take_part())
    await world.standing.wait()
    assert world.course == ENTERED
    world.ending.set_result(7)
    assert await taking_part == 7
    assert world.course == ENTERED + LEFT


@pytest.mark.parametrize("stage", STAGES)
async def test_a_request_to_leave_interrupts_every_stage_of_the_entry(world: World, stage: str) -> None:
    async def be_told_to_leave() -> None:
        world.ending.set_result(0)
        await forever()

    world.at[stage] = be_told_to_leave
    assert await world.take_part() == 0
    assert world.course == ["record", "routes", *STAGES[: STAGES.index(stage)], *LEFT]


@pytest.mark.parametrize("stage", STAGES)
async def test_what_is_refused_at_any_stage_is_raised_when_all_is_undone(world: World, stage: str) -> None:
    world.at[stage] = failing(RouteTaken("No."))
    with pytest.raises(RouteTaken):
        await world.take_part()
    left = (
        LEFT if stage != "claim a lease" else [step for step in LEFT if step in ("left", "routes end", "record ends")]
    )
    assert world.course == ["record", "routes", *STAGES[: STAGES.index(stage)], *left]


async def test_routes_that_nobody_will_ever_have_end_the_entry(world: World) -> None:
    world.at |= {"routes": failing(RouteTaken("No.")), "first route": forever}
    with pytest.raises(RouteTaken):
        await world.take_part()
    assert "redirect" not in world.course
    assert world.course[-2:] == ["left", "record ends"]


async def test_a_command_that_fails_to_start_is_raised(world: World) -> None:
    world.ending.set_exception(OSError("It cannot run."))
    with pytest.raises(OSError, match="cannot run"):
        await world.take_part()
    assert world.course[-2:] == LEFT[-2:]


class TestALeaseThatIsLost:
    async def lose(self, world: World) -> int | None:
        taking_part = asyncio.create_task(world.take_part())
        await world.standing.wait()
        world.lost.set_exception(SessionLost("It is gone."))
        return await taking_part

    async def test_in_silence_it_may_take_part_again(self, world: World) -> None:
        world.silence_s = EXPIRED_AFTER_S
        assert await self.lose(world) is None
        assert world.course == ENTERED + LEFT

    async def test_while_it_was_heard_somebody_has_meant_it(self, world: World) -> None:
        with pytest.raises(SessionLost):
            await self.lose(world)
        assert world.course == ENTERED + LEFT

    async def test_the_guard_may_be_the_one_to_notice(self, world: World) -> None:
        world.silence_s, world.at["guard"] = EXPIRED_AFTER_S, failing(SessionLost("It was taken out."))
        assert await world.take_part() is None


async def test_a_service_that_is_deleted_ends_it(world: World) -> None:
    world.at["guard"] = failing(TargetAbsent("Deleted."))
    with pytest.raises(TargetAbsent):
        await world.take_part()
    assert world.course == ENTERED + LEFT


async def test_a_change_without_a_guard_stays_until_told(world: World) -> None:
    world.change.guard = None
    taking_part = asyncio.create_task(world.take_part())
    await world.standing.wait()
    world.ending.set_result(0)
    assert await taking_part == 0


async def test_what_cannot_be_undone_is_raised_and_stays_on_record(world: World) -> None:
    world.at["restore"] = failing(RestoreIncomplete("Not now."))
    world.ending.set_result(0)
    world.at["prepare"] = forever
    with pytest.raises(RestoreIncomplete):
        await world.take_part()
    assert "left" not in world.course


async def test_a_signal_unwinds_it_too(world: World) -> None:
    taking_part: asyncio.Task[Any] = asyncio.create_task(world.take_part())
    await world.standing.wait()
    taking_part.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking_part
    assert world.course == ENTERED + LEFT
