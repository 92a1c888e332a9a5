"""A session of `ktpy dev start` without a pod: what runs there is the test's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.cluster.changes import dev as changes
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import InterceptAbsent, LinkLost, SessionLost
from ktpy.link.held_program import HeldProgram
from ktpy.observe.events import Event, StartStep
from ktpy.observe.status import SyncStatus
from ktpy.sessions import dev, dev_once, dev_sync
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import DevOptions, SyncFolder
from tests.unit.cluster.changes.dev_cases import essence, furnish
from tests.unit.kube.api_stub import kubeconfig
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, ObjectStore


class Uplink:
    """A link that stands at once, until it is cut."""

    def __init__(self, *_: Any) -> None:
        self.cut = asyncio.Event()

    async def run(self) -> None:
        await self.cut.wait()
        raise LinkLost("cut")

    async def connection(self) -> Any:
        return SimpleNamespace()

    def close(self) -> None:
        """Nothing is open."""


class World:
    def __init__(self, store: ObjectStore, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.uplink, self.told = Uplink(), list[Event]()
        monkeypatch.setattr(dev, "dev_uplink", lambda *_: self.uplink)
        monkeypatch.setattr(HeldProgram, "run", lambda *_: asyncio.shield(self.program))
        monkeypatch.setattr(changes, "BACK_TIMEOUT_S", 0.2)  # nothing makes the original's pods ready
        file = kubeconfig(home, store.url, {"token": "t"})
        self.place = ClusterRef(file)
        self.options = DevOptions("web", kubeconfig=file, command=("serve",))
        self.caller = Caller(4_000_000_000, 4_000_000_000, "al", home)
        self.session = dev.Dev(self.options, self.caller, self.told.append, [])

    def catch_up(self) -> "asyncio.Task[list[dict[str, Any]]]":
        return asyncio.create_task(asyncio.to_thread(lambda: list(dev_once.catch_up(self.place, "web", self.caller))))

    def steps(self) -> list[str]:
        return [one.detail for one in self.told if isinstance(one, StartStep)]


@pytest.fixture
async def world(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    with TemporaryDirectory() as home:  # whose name is short enough for a socket's path
        yield World(store, Path(home), monkeypatch)


def is_as_before(store: ObjectStore, before: Any) -> bool:
    return essence(store) == before and store.names(LEASES) == [] and store.names(DEPLOYMENTS) == ["web"]


async def test_it_ends_with_its_program(store: ObjectStore, world: World) -> None:
    before = furnish(store)
    running = asyncio.create_task(world.session.run())
    await store.until(lambda: essence(store)["spec"]["replicas"] == 0)
    world.program.set_result(3)
    assert await running == 3
    assert is_as_before(store, before)
    assert world.session.farewell == "Left; deployment/web is as before."


@pytest.mark.parametrize("writes", range(1, 4))
async def test_it_may_be_ended_at_any_time(store: ObjectStore, world: World, writes: int) -> None:
    before = furnish(store)
    running = asyncio.create_task(world.session.run())
    await store.until(lambda: len(store.writes) >= writes)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert is_as_before(store, before)


async def test_the_program_runs_until_the_original_is_back(store: ObjectStore, world: World) -> None:
    furnish(store)
    running = asyncio.create_task(world.session.run())
    await store.until(lambda: essence(store)["spec"]["replicas"] == 0)
    seen: list[bool] = []
    store.before["DELETE deployments/web-ktpy-dev"] = [lambda: seen.append(world.program.done())]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert seen == [False]
    assert world.steps().index("switch the original on") < world.steps().index("delete the dev pod")


async def test_somebody_ends_it(store: ObjectStore, world: World) -> None:
    furnish(store)
    running = asyncio.create_task(world.session.run())
    await store.until(lambda: essence(store)["spec"]["replicas"] == 0)
    store.remove(DEPLOYMENTS, "web-ktpy-dev")
    world.uplink.cut.set()
    assert await running == 0
    assert world.session.farewell == "Ended by others; deployment/web is as before."


async def test_a_lost_link_gives_all_back(store: ObjectStore, world: World) -> None:
    before = furnish(store)
    running = asyncio.create_task(world.session.run())
    await store.until(lambda: essence(store)["spec"]["replicas"] == 0)
    world.uplink.cut.set()
    with pytest.raises(LinkLost, match="cut"):
        await running
    assert is_as_before(store, before)


class Sync:
    """A folder that is in step when the test says so."""

    def __init__(self) -> None:
        self.caught_up = asyncio.Event()
        self.asked = asyncio.Event()

    @property
    def status(self) -> SyncStatus:
        return SyncStatus(state="in step" if self.caught_up.is_set() else "syncing", entries=3)

    async def catch_up(self, *, with_container: bool) -> None:
        assert with_container
        self.asked.set()
        await self.caught_up.wait()


async def test_others_see_how_its_folder_is_in_step(
    store: ObjectStore, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sync = Sync()

    @asynccontextmanager
    async def synced_folder(_: Any, __: Any, ___: Any, begun: Any) -> "AsyncIterator[asyncio.Future[None]]":
        begun(sync)
        yield asyncio.get_running_loop().create_future()

    monkeypatch.setattr(dev_sync, "synced_folder", synced_folder)
    furnish(store)
    with pytest.raises(InterceptAbsent, match="You develop web in no session of this laptop with --sync"):
        await world.catch_up()
    folder = SyncFolder(str(tmp_path), "/home/dev")
    session = dev.Dev(replace(world.options, sync=folder), world.caller, world.told.append, [])
    running = asyncio.create_task(session.run())
    await store.until(lambda: essence(store)["spec"]["replicas"] == 0)
    asking = world.catch_up()
    await sync.asked.wait()
    listed = await asyncio.to_thread(dev_once.sessions, world.place, "web", world.caller)
    sync.caught_up.set()
    before, after = await asking
    assert json.loads(json.dumps(listed))["sessions"][0]["sync"] == before["sync"]
    assert (before["sync"]["local"], before["sync"]["remote"]) == (str(tmp_path), "/home/dev")
    assert (before["sync"]["state"], after["sync"]["state"]) == ("syncing", "in step")
    sync.caught_up.clear()
    sync.asked.clear()
    ending = asyncio.create_task(asyncio.to_thread(dev_once.end, world.place, "web", world.caller))
    await sync.asked.wait()
    assert "web-ktpy-dev" in store.names(DEPLOYMENTS), "the container's last files come first"
    sync.caught_up.set()
    assert (await ending)["ended"]
    monkeypatch.setattr(control_client, "follow", lambda *_: iter([before]))  # as when it ends meanwhile
    with pytest.raises(SessionLost, match="deployment/web has ended meanwhile"):
        await world.catch_up()
    sync.caught_up.clear()
    sync.asked.clear()
    world.program.set_result(0)
    await sync.asked.wait()
    assert "switch the original on" not in world.steps(), "the same where its program ends"
    sync.caught_up.set()
    assert await running == 0
    assert RuntimeDirectory.of(world.caller).control_sockets() == []
