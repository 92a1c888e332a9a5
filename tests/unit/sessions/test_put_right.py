"""What is seen to after an outage, in a session whose every part is a fake."""

import asyncio

from ktpy.daemon import control_client
from ktpy.errors import HelperFailed
from ktpy.observe.events import LinkBack, Notice
from ktpy.observe.status import ConnectStatus
from tests.kit.waiting import until
from tests.unit.sessions.connect_world import World, world
from tests.unit.sessions.test_shadow_uplink import lose, told

__all__ = ["world"]

PUT_RIGHT = "put right 10.96.0.0/12"


async def test_routes_are_put_right_after_each_outage(world: World) -> None:
    async with world.session():
        await world.ready
        assert PUT_RIGHT not in world.steps
        for number in (1, 2):
            await lose(world)
            await until(lambda number=number: world.steps.count(PUT_RIGHT) == number)  # type: ignore[misc]
    assert told(world, Notice) == []


async def test_what_is_not_right_is_told_once(world: World) -> None:
    async with world.session():
        await world.ready
        for world.not_right in (["A network overlaps."], ["A network overlaps."], [], ["A network overlaps."]):
            before = world.steps.count(PUT_RIGHT)
            await lose(world)
            await until(lambda before=before: world.steps.count(PUT_RIGHT) > before)  # type: ignore[misc]
            await asyncio.sleep(0.01)
    assert told(world, Notice) == [Notice("A network overlaps.")] * 2


async def test_a_helper_that_cannot_does_not_end_the_session(world: World) -> None:
    async with world.session() as running:
        await world.ready
        world.failures[PUT_RIGHT] = HelperFailed("There is a route already.")
        await lose(world)
        await until(lambda: Notice("There is a route already.") in world.events)
        assert not running.done()
    assert len(told(world, LinkBack)) == 1


async def test_routes_that_others_change_are_looked_at_and_the_status_tells_what_is_wrong(world: World) -> None:
    async with world.session():
        await world.ready
        for world.not_right in (["A VPN took 10.96.5.0/24."], []):
            before = world.steps.count(PUT_RIGHT)
            world.routes_changed.set()
            await until(lambda before=before: world.steps.count(PUT_RIGHT) > before)  # type: ignore[misc]
            status = await asyncio.to_thread(control_client.ask_status, world.control_socket)
            assert isinstance(status, ConnectStatus)
            assert status.notes == tuple(world.not_right)
    assert told(world, Notice) == [Notice("A VPN took 10.96.5.0/24.")]
