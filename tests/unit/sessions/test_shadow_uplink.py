"""How `connect` comes back: the same pod while it lives, another when it is gone, and an end at any time."""

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.daemon import control_client
from ktpy.errors import ApiUnreachable, Forbidden, HostKeyMismatch, LinkLost, PodFailed, Unauthorized
from ktpy.kube.portforward.port_forward import PortForward
from ktpy.kube.portforward.upgrade import PortForwardNotYet
from ktpy.link.connection import AgentConnection
from ktpy.observe.events import Ended, LinkBack, LinkDown, Notice
from ktpy.observe.status import ConnectStatus, LinkStatus
from ktpy.sessions import shadow_uplink
from ktpy.sessions.options import CaptureSpec, ConnectOptions, Via
from ktpy.sessions.shadow_uplink import direct_way
from ktpy.sessions.shadows import OUT_OF_REACH_S
from tests.kit.waiting import until
from tests.unit.sessions.connect_world import World, world

__all__ = ["world"]

LOST = LinkLost("The link is lost.")
UNDO = ["stop pump", "undo laptop", "close tunnel", "delete job", "close API"]
POD = "ktpy-connect-x-y"


async def status(world: World) -> ConnectStatus:
    found = await asyncio.to_thread(control_client.ask_status, world.control_socket)
    assert isinstance(found, ConnectStatus)
    return found


async def lose(world: World) -> None:
    """The link is lost, and back."""
    backs = len(told(world, LinkBack))
    world.end["link"].set_result(LOST)
    await until(lambda: len(told(world, LinkBack)) > backs)


def told(world: World, kind: type) -> list[Any]:
    return [event for event in world.events if isinstance(event, kind)]


def outcome_of(world: World, ended: Ended) -> None:
    assert ended.exit_code == 0
    assert [step for step in world.steps if step in UNDO][-5:] == UNDO


async def test_a_lost_link_is_dialled_again_to_the_same_pod(world: World) -> None:
    async with world.session() as running:
        await world.ready
        made = world.steps.count("create job")
        await lose(world)
        assert told(world, LinkDown) == [LinkDown("The link is lost.")]
        assert [(back.pod, back.losses) for back in told(world, LinkBack)] == [(POD, 1)]
        assert world.steps.count("create job") == made == 1
        now = await status(world)
        assert (now.state, now.link.losses, now.link.reason) == ("connected", 1, "The link is lost.")
        assert not running.done()


async def test_twenty_rounds_leave_as_much_as_one(world: World) -> None:
    async with world.session() as running:
        await world.ready
        await lose(world)
        tasks = len(asyncio.all_tasks())
        for _ in range(20):
            await lose(world)
        await until(lambda: len(asyncio.all_tasks()) <= tasks, "tasks as before")  # those of the last return end later
        assert world.steps.count("create job") == 1
        os.kill(os.getpid(), signal.SIGINT)
        outcome_of(world, await running)
    assert world.steps.count("delete job") == 1
    assert [step for step in world.steps if step in UNDO] == UNDO


async def test_a_pod_that_is_lost_is_replaced(world: World) -> None:
    """What is left of it is deleted before another is made, in whose name it is undone."""
    async with world.session() as running:
        await world.ready
        begun = len(world.steps)
        world.end["pod"].set_exception(PodFailed("The pod was deleted."))
        await until(lambda: bool(told(world, LinkBack)))
        order = [step for step in world.steps[begun:] if step in ("delete job", "create job", "wait for pod", "dial")]
        assert order == ["delete job", "create job", "wait for pod", "dial"]
        assert told(world, LinkDown) == [LinkDown("The pod was deleted.")]
        os.kill(os.getpid(), signal.SIGINT)
        outcome_of(world, await running)
    assert world.steps.count("delete job") == world.steps.count("create job") == 2


async def test_a_dial_that_fails_looks_whether_the_pod_is_gone(world: World) -> None:
    """Its watch may tell much later, after a long outage."""
    async with world.session():
        await world.ready
        world.pod_failure = PodFailed("The pod is gone.")
        world.failures["dial"] = PortForwardNotYet("No such pod.")
        world.end["link"].set_result(LOST)
        await until(lambda: world.steps.count("create job") == 2)
        del world.failures["dial"]
        await until(lambda: bool(told(world, LinkBack)))


async def test_a_pod_that_seems_to_live_but_does_not_answer_is_replaced(world: World) -> None:
    """As on a node that has died: the API server takes minutes to notice."""
    async with world.session():
        await world.ready
        world.failures["dial"] = PortForwardNotYet("No node.")
        world.end["link"].set_result(LOST)
        await asyncio.sleep(OUT_OF_REACH_S)
        assert world.steps.count("create job") == 1
        await asyncio.sleep(2)
        assert world.steps.count("create job") == 2


async def test_while_the_api_server_is_away_the_pod_is_not_given_up(world: World) -> None:
    async with world.session():
        await world.ready
        world.failures["dial"] = ApiUnreachable("No route to host.")
        world.end["link"].set_result(LOST)
        await asyncio.sleep(5 * OUT_OF_REACH_S)
        assert world.steps.count("create job") == 1
        now = await status(world)
        assert (now.state, now.link.reason) == ("reconnecting", "No route to host.")
        del world.failures["dial"]
        await asyncio.sleep(1.1)
        assert told(world, LinkBack)


async def test_credentials_that_have_expired_are_told_once_and_tried_again(world: World) -> None:
    async with world.session():
        await world.ready
        world.failures["dial"] = Unauthorized("Log in again.")
        world.end["link"].set_result(LOST)
        await asyncio.sleep(60)
        assert told(world, Notice) == [Notice("Log in again. ktpy keeps trying.")]
        del world.failures["dial"]
        await until(lambda: bool(told(world, LinkBack)))


async def test_a_pod_that_cannot_be_had_is_tried_again_with_growing_pauses(world: World) -> None:
    async with world.session():
        await world.ready
        world.failures["create job"] = Unauthorized("Log in again.")
        world.end["pod"].set_exception(PodFailed("The pod was deleted."))
        await asyncio.sleep(60)
        assert 12 <= world.steps.count("create job") < 40
        assert told(world, Notice) == [Notice("Log in again. ktpy keeps trying.")]
        del world.failures["create job"]
        await until(lambda: bool(told(world, LinkBack)))


async def test_lost_again_while_it_comes_back(world: World) -> None:
    """The second outage begins while the first dial is under way."""
    async with world.session():
        await world.ready
        world.blocked_at = "dial"
        world.end["link"].set_result(LOST)
        await world.is_reached.wait()
        world.end["pod"].set_exception(PodFailed("The pod was deleted."))
        await until(lambda: world.steps.count("create job") == 2)
        world.blocked_at = None
        world.go_on.set()
        await until(lambda: bool(told(world, LinkBack)))
        assert len(told(world, LinkDown)) == 1


@pytest.mark.parametrize("stage", ["dial", "delete job", "create job", "wait for pod"])
@pytest.mark.parametrize("way", ["quit", "Ctrl-C"])
async def test_an_end_during_an_outage_undoes_everything(world: World, stage: str, way: str) -> None:
    async with world.session() as running:
        await world.ready
        world.blocked_at = stage
        world.end["pod"].set_exception(PodFailed("The pod was deleted."))
        await world.is_reached.wait()
        if stage == "delete job":
            asyncio.get_running_loop().call_later(1, world.go_on.set)
        if way == "quit":
            await asyncio.to_thread(control_client.ask, world.control_socket, "quit")
        else:
            os.kill(os.getpid(), signal.SIGINT)
        outcome_of(world, await running)


async def test_another_host_key_ends_it_also_when_it_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.session() as running:
        await world.ready
        opened: Any = AgentConnection.open

        async def other(*arguments: Any) -> Any:
            connection = await opened(*arguments)
            connection.host_key = "ssh-ed25519 BBBB"
            return connection

        monkeypatch.setattr(AgentConnection, "open", other)
        world.end["link"].set_result(LOST)
        assert (await running).exit_code == HostKeyMismatch.exit_code


async def test_a_right_that_is_missing_from_the_start_ends_it_however_late_that_shows(world: World) -> None:
    """The deadline is put off beside the start, and may be so after it."""
    world.blocked_at = "release deadline"
    async with world.session() as running:
        await world.ready
        world.failures["release deadline"] = Forbidden("You may not patch jobs.batch.")
        world.go_on.set()
        assert (await running).exit_code == Forbidden.exit_code


async def test_a_right_that_is_taken_away_later_does_not(world: World) -> None:
    async with world.session() as running:
        await world.ready
        world.failures["release deadline"] = Forbidden("You may not patch jobs.batch.")
        await lose(world)
        await until(lambda: world.steps.count("release deadline") > 3)
        assert not running.done()


async def test_the_link_is_told_in_the_status_from_the_start(world: World) -> None:
    async with world.session():
        await world.ready
        link = (await status(world)).link
    assert link == LinkStatus(is_up=True, for_s=link.for_s)


@pytest.mark.parametrize("ssh_only", [True, False])
async def test_bulk_may_take_another_port_of_the_pod_unless_all_is_to_stay_in_ssh(ssh_only: bool) -> None:
    async def find() -> tuple[Any, str]:
        return SimpleNamespace(), POD

    api, shadows = SimpleNamespace(namespace="shop"), SimpleNamespace(find=find)
    find_pod = shadow_uplink._finder(api, shadows, lambda: True, None, ssh_only=ssh_only)  # type: ignore[arg-type]
    pod = await find_pod()
    assert pod is not None
    assert (pod.beside is None) is ssh_only
    if pod.beside:
        forward = pod.beside(2224)
        assert isinstance(forward, PortForward)
        assert (forward.pod, forward.port) == (POD, 2224)


@pytest.mark.parametrize(
    ("via", "mode", "places"),
    [
        (Via(), "tun", ["192.0.2.1:31000"]),
        (Via(is_auto=True), "tun", ["192.0.2.1:31000"]),
        (Via(is_auto=True), "proxy", ["10.96.0.7:2222", "192.0.2.1:31000"]),
        (Via("ssh.example.com", 22), "tun", ["ssh.example.com:22"]),
    ],
)
async def test_where_the_pod_may_be_reached_past_the_api_server(
    world: World, via: Via, mode: str, places: list[str]
) -> None:
    """What `connect` routes to the pod is no way to it."""

    async def own_address() -> tuple[str, int]:
        return "10.96.0.7", 2222

    async def node_address() -> tuple[str, int]:
        return "192.0.2.1", 31000

    async def find() -> tuple[Any, str]:
        return SimpleNamespace(own_address=own_address, node_address=node_address), POD

    async with world.session():
        await world.ready
        routing = world.connect._routing
        routing._options = ConnectOptions(capture=CaptureSpec(mode))
        way = direct_way(via, SimpleNamespace(find=find), routing, lambda *_: None, lambda _: None)  # type: ignore[arg-type]
        assert [f"{host}:{port}" async for host, port in way._find()] == places
