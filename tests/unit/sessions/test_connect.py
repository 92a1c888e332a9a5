"""The course of `connect`: what comes after what, what goes on side by side, and how all of it is undone."""

import asyncio
import logging
import os
import re
import signal

import pytest

from ktpy import __version__
from ktpy.daemon import control_client, supervision
from ktpy.errors import HelperFailed, KtpyError, PodFailed, TunUnavailable
from ktpy.observe.events import Ended, Notice, StartStep
from ktpy.observe.status import ConnectStatus, DnsStatus, RangeStatus, TrafficBytes
from ktpy.sessions import connect
from ktpy.sessions.options import ConnectOptions
from ktpy.wire.version import VERSION
from tests.kit.waiting import until
from tests.unit.sessions.connect_world import HELPER, World, world

__all__ = ["world"]

UNDO = ["stop pump", "undo laptop", "close tunnel", "delete job", "close API"]
"""The laptop first, so that no program waits for what is gone; then the cluster."""
STAGES = [
    "load kubeconfig",
    "create job",
    "wait for pod",
    "feed zone",
    "dial",
    "prepare laptop",
    "discover ranges",
    "start pump",
    "route 10.96.0.0/12",
    "serve names",
]
"""Places where work waits for somebody, in the order in which it reaches them."""
FAREWELL = Ended(0, "Disconnected by ktpy quit; everything is undone.")


async def quit_session(world: World) -> None:
    """As `ktpy quit` does, but for the wait until the process is gone."""
    await asyncio.to_thread(control_client.ask, world.control_socket, "quit")


def undone(world: World) -> list[str]:
    return [step for step in world.steps if step in UNDO]


async def test_the_stages_come_in_order_and_are_undone_in_order(world: World) -> None:
    async with world.session() as running:
        await world.ready
        assert [step for step in world.steps if step in STAGES] == STAGES
        await quit_session(world)
        assert await running == FAREWELL
    assert world.steps[-5:] == UNDO


@pytest.mark.parametrize("is_wanted", [False, True])
async def test_own_intercepts_are_reached_past_the_cluster_where_that_is_wanted(world: World, is_wanted: bool) -> None:
    async with world.session(ConnectOptions(local_shortcut=is_wanted)):
        await world.ready
        counted = world.connect._status().counters.get("local_shortcuts")
    assert counted == ({"connections": 0} if is_wanted else None)


async def test_the_user_is_told_of_each_stage(world: World) -> None:
    async with world.session():
        await world.ready
    told = [(step.name, step.detail) for step in world.events if isinstance(step, StartStep)]
    assert told == [
        ("cluster", "lab (https://a), namespace shop"),
        ("ssh", "a session with ktpy-connect-x-y"),
        ("routes", "10.96.0.0/12 by ktpy0"),
        ("dns", "names of cluster.local by resolv.conf"),
        ("end", "deleting job ktpy-connect-x ..."),
    ]


@pytest.mark.parametrize(
    ("waiting", "others"),
    [
        ("prepare laptop", {"dial", "discover ranges", "feed zone", "release deadline"}),
        ("wait for pod", {"prepare laptop", "discover ranges", "feed zone"}),
        ("discover ranges", {"prepare laptop", "dial", "release deadline"}),
    ],
)
async def test_what_waits_holds_nothing_up_that_does_not_need_it(world: World, waiting: str, others: set[str]) -> None:
    world.blocked_at = waiting
    async with world.session():
        await world.is_reached.wait()
        await until(lambda: others <= set(world.steps))
        assert "start pump" not in world.steps


def expected_undo(world: World) -> list[str]:
    """Of what had been made; a change that was under way counts."""
    made = {
        "stop pump": "route 10.96.0.0/12" in world.steps,
        "undo laptop": "prepare laptop" in world.steps,
        "close tunnel": world.has_tunnel,
    }
    return [step for step in UNDO if made.get(step, True)]


@pytest.mark.parametrize("stage", STAGES[1:])
async def test_quit_at_any_stage_undoes_what_was_done(world: World, stage: str) -> None:
    world.blocked_at = stage
    async with world.session() as running:
        await world.is_reached.wait()
        await quit_session(world)
        assert await running == FAREWELL
    assert undone(world) == expected_undo(world)


@pytest.mark.parametrize("stage", STAGES[1:])
async def test_a_failure_at_any_stage_is_told_after_all_is_undone(world: World, stage: str) -> None:
    world.failures[stage] = KtpyError(f"No {stage}.")
    async with world.session() as running:
        assert await running == Ended(1, f"No {stage}.", is_error=True)
    assert undone(world) == expected_undo(world)


@pytest.mark.parametrize(
    ("who", "failure"),
    [
        ("pod", PodFailed("The pod is gone.")),
        ("helper", HelperFailed("The helper died.")),
        ("TUN", TunUnavailable("The TUN is gone.")),
    ],
)
async def test_what_the_session_needs_ends_it(world: World, who: str, failure: KtpyError) -> None:
    async with world.session(ConnectOptions(reconnect=False)) as running:
        await world.ready
        world.end[who].set_exception(failure)
        assert await running == Ended(failure.exit_code, failure.message, is_error=True)
    assert world.steps[-5:] == UNDO


async def test_a_helper_that_dies_before_there_is_a_pod_is_not_waited_with(world: World) -> None:
    world.blocked_at = "wait for pod"
    async with world.session() as running:
        await until(lambda: world.is_reached.is_set() and "discover ranges" in world.steps)
        world.end["helper"].set_exception(HelperFailed("The helper died."))
        assert await running == Ended(35, "The helper died.", is_error=True)
    assert undone(world) == expected_undo(world)


async def test_a_replaced_resolv_conf_is_told_and_names_that_are_lost_are_not_claimed(world: World) -> None:
    async with world.session():
        await world.ready
        world.resolver_changes.put_nowait("resolv.conf was replaced.")
        await until(lambda: world.events[-1] == Notice("resolv.conf was replaced."))
        status = await asyncio.to_thread(control_client.ask_status, world.control_socket)
        assert isinstance(status, ConnectStatus)
        assert status.dns is not None
        world.resolver_changes.put_nowait("")  # ktpy gives in
        await until(lambda: world.resolver_changes.empty())
        status = await asyncio.to_thread(control_client.ask_status, world.control_socket)
    assert isinstance(status, ConnectStatus)
    assert status.dns is None


async def test_the_status_of_a_session_that_stands(world: World) -> None:
    async with world.session():
        await world.ready
        status = await asyncio.to_thread(control_client.ask_status, world.control_socket)
    assert isinstance(status, ConnectStatus)
    assert (status.state, status.pod, status.open_flows) == ("connected", "ktpy-connect-x-y", 1)
    assert (status.datagram_flows, status.counters["datagrams"]["sent"]) == (2, 7)
    assert status.dns == DnsStatus("cluster.local", "127.18.0.1", "resolv.conf", ("svc.cluster.local",))
    assert status.ranges == (RangeStatus("10.96.0.0/12", "services", "ServiceCIDR"),)
    assert status.bytes == TrafficBytes(3, 4)
    assert list(status.counters) == ["link", "packets", "flows", "datagrams", "dns"]
    assert status.counters["link"] == {"sent_bytes": 40, "received_bytes": 30, "bulk_ways": 0, "bulk_refused": 0}
    assert (status.counters["packets"]["read_packets"], status.counters["flows"]["admitted"]) == (5, 1)


async def test_the_status_of_a_session_that_starts(world: World) -> None:
    world.blocked_at = "wait for pod"
    async with world.session():
        await world.is_reached.wait()
        status = await asyncio.to_thread(control_client.ask_status, world.control_socket)
    assert isinstance(status, ConnectStatus)
    assert (status.state, status.server, status.pod, status.dns) == ("starting", "https://a", None, None)


async def test_without_names(world: World) -> None:
    async with world.session(ConnectOptions(dns=False, pods=False)):
        await world.ready
    assert "serve names" not in world.steps


async def test_each_stage_is_traced(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.failures["serve names"] = KtpyError("No port.")
    with caplog.at_level(logging.INFO, "ktpy"):
        async with world.session() as running:
            await running
    traced = [record.getMessage() for record in caplog.records if record.name == "ktpy.observe.trace"]
    started = [text for text in traced if text.endswith("started")]
    assert started == [
        "stage open cluster: started",
        "stage create shadow: started",
        "stage open tunnel: started",
        "stage prepare laptop: started",
        "stage choose ranges: started",
        "stage route chosen: started",
        "stage serve names: started",
    ]
    assert re.fullmatch(r"stage serve names: failed after \d\.\d{3} s: KtpyError", traced[-1])


@pytest.mark.parametrize(
    ("version", "notices"),
    [
        (VERSION - 1, ["The agent in the pod is one version older than this ktpy; they understand each other."]),
        (VERSION, []),
        (VERSION + 1, ["The agent in the pod is one version newer than this ktpy; they understand each other."]),
    ],
)
async def test_an_agent_of_another_version_is_told(world: World, version: int, notices: list[str]) -> None:
    world.agent_version = version
    async with world.session():
        await world.ready
    assert [event.text for event in world.events if isinstance(event, Notice)] == notices


async def connect_again(world: World) -> Ended:
    return await supervision._supervise(connect.Connect(ConnectOptions(), HELPER, world.caller, lambda _: None))


async def test_connected_already_to_the_same_is_success(world: World) -> None:
    async with world.session() as running:
        await world.ready
        again = await connect_again(world)
        assert again.exit_code == 0
        who = f"by process {os.getpid()}"
        assert again.message == f"Already connected to lab, namespace shop, {who}; nothing was changed."
        assert not running.done()


async def test_connected_already_to_another_namespace_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.session():
        await world.ready
        monkeypatch.setattr(world, "namespace", "pay")
        again = await connect_again(world)
        assert (again.exit_code, again.is_error) == (31, True)


async def test_interrupted_before_the_pod_is_made(world: World) -> None:
    world.blocked_at = "load kubeconfig"
    async with world.session() as running:
        await world.is_reached.wait()
        assert world.connect.farewell == "Interrupted; nothing was changed."
        assert not running.done()


async def test_policies_in_the_way_are_told(world: World) -> None:
    world.warnings = ["NetworkPolicy deny may keep ktpy's pod from pods of namespace shop."]
    async with world.session():
        await world.ready
        assert world.warnings == [event.text for event in world.events if isinstance(event, Notice)]


async def test_ctrl_z_is_ignored_and_said(world: World) -> None:
    async with world.session():
        await world.ready
        os.kill(os.getpid(), signal.SIGTSTP)
        await until(lambda: Notice(connect.NOT_STOPPED) in world.events)


async def test_an_agent_that_carries_no_datagrams_is_told_and_left_in_peace(world: World) -> None:
    world.carries_datagrams = False
    async with world.session():
        await world.ready
    [notice] = [event.text for event in world.events if isinstance(event, Notice)]
    assert notice == (
        "The agent in the pod (of ktpy 0.1.0) carries TCP, but neither UDP nor ping, which are refused. "
        f"Use the image of ktpy {__version__}, see --image."
    )
    assert "carry datagrams" not in world.steps
