"""A session of `ktpy dev start` without a pod: what runs there is the test's."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.cluster.changes import dev as changes
from ktpy.daemon.caller import Caller
from ktpy.errors import LinkLost
from ktpy.link.held_program import HeldProgram
from ktpy.observe.events import Event, StartStep
from ktpy.sessions import dev
from ktpy.sessions.options import DevOptions
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
    def __init__(self, store: ObjectStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.uplink, self.told = Uplink(), list[Event]()
        monkeypatch.setattr(dev, "dev_uplink", lambda *_: self.uplink)
        monkeypatch.setattr(HeldProgram, "run", lambda *_: asyncio.shield(self.program))
        monkeypatch.setattr(changes, "BACK_TIMEOUT_S", 0.2)  # nothing makes the original's pods ready
        file = kubeconfig(folder, store.url, {"token": "t"})
        options = DevOptions("web", kubeconfig=file, command=("serve",))
        self.session = dev.Dev(options, Caller(1000, 1000, "al", folder), self.told.append, [])

    def steps(self) -> list[str]:
        return [one.detail for one in self.told if isinstance(one, StartStep)]


@pytest.fixture
async def world(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(store, tmp_path, monkeypatch)


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
