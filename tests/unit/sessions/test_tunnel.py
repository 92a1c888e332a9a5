"""What becomes of a session when its pod or its link is lost, and of the pod at its end."""

import os
import signal

import pytest

from ktpy.errors import ApiUnreachable, KtpyError, LinkLost, PodFailed
from ktpy.observe.events import Ended, LinkBack, Notice
from ktpy.sessions.options import ConnectOptions
from tests.kit.waiting import until
from tests.unit.sessions.connect_world import World, world
from tests.unit.sessions.test_connect import FAREWELL, UNDO, quit_session
from tests.unit.sessions.test_shadow_uplink import LOST, lose, status, told

__all__ = ["world"]

KEEPING = ConnectOptions(keep_s=600.0)


@pytest.mark.parametrize("who", ["link", "pod"])
async def test_a_loss_while_it_starts_ends_it_at_once(world: World, who: str) -> None:
    world.blocked_at = "serve names"
    async with world.session() as running:
        await world.is_reached.wait()
        if who == "link":
            world.end["link"].set_result(LOST)
        else:
            world.end["pod"].set_exception(PodFailed("The pod was deleted."))
        ended = await running
    failure: KtpyError = LOST if who == "link" else PodFailed("The pod was deleted.")
    assert ended == Ended(failure.exit_code, failure.message, is_error=True)


async def test_a_lost_link_ends_it_without_reconnecting(world: World) -> None:
    async with world.session(ConnectOptions(reconnect=False)) as running:
        await world.ready
        world.end["link"].set_result(LinkLost("The link is lost."))
        assert await running == Ended(LinkLost.exit_code, "The link is lost.", is_error=True)
    assert world.steps[-5:] == UNDO


async def test_connections_wait_for_the_next_link_to_the_same_pod(world: World) -> None:
    async with world.session(KEEPING):
        await world.ready
        await lose(world)
        about_them = [step for step in world.steps if step in ("go on", "wait for a link") or step.startswith("reset")]
        assert about_them == ["go on", "wait for a link", "go on"]


async def test_connections_are_reset_at_once_with_their_pod(world: World) -> None:
    async with world.session(KEEPING):
        await world.ready
        world.end["pod"].set_exception(PodFailed("The pod was deleted."))
        await until(lambda: bool(told(world, LinkBack)))
        assert world.steps.index("reset: The pod was deleted.") < world.steps.index("delete job")


async def test_the_status_tells_of_kept_connections(world: World) -> None:
    async with world.session(KEEPING):
        await world.ready
        counters = (await status(world)).counters
    assert counters["kept"] == {"kept": 5, "lost": 1, "outran": 0}


async def test_a_job_that_cannot_be_deleted_is_told_and_holds_nothing_up(world: World) -> None:
    world.failures["delete job"] = KtpyError("Forbidden.")
    async with world.session() as running:
        await world.ready
        await quit_session(world)
        assert await running == FAREWELL
    assert world.events[-1] == Notice(
        "Job ktpy-connect-x could not be deleted: Forbidden. It removes itself within two minutes."
    )
    assert world.steps[-5:] == UNDO


async def test_a_pod_whose_connections_wait_stays_longer_where_it_cannot_be_deleted(world: World) -> None:
    world.failures["delete job"] = KtpyError("Forbidden.")
    async with world.session(KEEPING) as running:
        await world.ready
        await quit_session(world)
        await running
    assert isinstance(world.events[-1], Notice)
    assert world.events[-1].text.endswith("It removes itself within 12 minutes.")


async def test_an_end_does_not_wait_long_for_an_api_server_that_is_away(world: World) -> None:
    async with world.session() as running:
        await world.ready
        world.failures["dial"] = ApiUnreachable("No route to host.")
        world.end["link"].set_result(LOST)
        await until(lambda: world.steps.count("dial") > 3)
        os.kill(os.getpid(), signal.SIGINT)
        assert (await running).exit_code == 0
    assert world.delete_timeout_s == 1
