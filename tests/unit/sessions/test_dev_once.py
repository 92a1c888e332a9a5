import asyncio
from functools import partial
from pathlib import Path

import pytest

from ktpy.cluster.changes.options import PersistentDir
from ktpy.daemon.caller import Caller
from ktpy.errors import InterceptAbsent, SessionsLive, TargetAbsent
from ktpy.kube.client import Api
from ktpy.sessions import dev_once
from ktpy.sessions.once import ClusterRef
from tests.unit.cluster.changes.dev_cases import development, essence, furnish
from tests.unit.kube.api_stub import kubeconfig
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, ObjectStore

AL = Caller(1000, 1000, "al", Path("/home/al"))


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path) -> ClusterRef:
    return ClusterRef(kubeconfig(tmp_path, store.url, {"token": "t"}))


async def developed(store: ObjectStore, api: Api, owner: str) -> None:
    """Somebody develops web, whose program has ended."""
    change = await development(api, owner=owner)
    await change.enter(lambda _: None, lambda _: None)
    await change.take_over()
    store.remove(PODS, "web-ktpy-dev-pod")


async def test_the_own_session_ends(store: ObjectStore, store_api: Api, place: ClusterRef) -> None:
    before = furnish(store)
    await developed(store, store_api, AL.owner)
    listed = await asyncio.to_thread(dev_once.sessions, place, None, AL)
    assert [one["workload"] for one in listed["sessions"]] == ["deployment/web"]
    ended = await asyncio.to_thread(dev_once.end, place, "web", AL)
    assert [one["workload"] for one in ended["ended"]] == ["deployment/web"]
    assert essence(store) == before
    assert store.names(LEASES) == []


async def test_another_s_is_reset_only(store: ObjectStore, store_api: Api, place: ClusterRef) -> None:
    before = furnish(store)
    await developed(store, store_api, "bo@x")
    with pytest.raises(SessionsLive, match="developed by bo@x"):
        await asyncio.to_thread(dev_once.end, place, "web", AL)
    await asyncio.to_thread(dev_once.reset, place, "web")
    assert essence(store) == before
    assert store.names(DEPLOYMENTS) == ["web"]


async def test_what_only_the_annotation_tells_is_reset(store: ObjectStore, store_api: Api, place: ClusterRef) -> None:
    before = furnish(store)
    await developed(store, store_api, "bo@x")
    store.remove(DEPLOYMENTS, "web-ktpy-dev")
    store.remove(LEASES, "ktpy-a")
    ended = await asyncio.to_thread(dev_once.reset, place, "deployment/web")
    assert [one["owner"] for one in ended["ended"]] == ["bo@x"]
    assert essence(store) == before


async def test_nothing_to_end(store: ObjectStore, place: ClusterRef) -> None:
    furnish(store)
    assert (await asyncio.to_thread(dev_once.reset, place, "web"))["ended"] == []
    with pytest.raises(InterceptAbsent):
        await asyncio.to_thread(dev_once.end, place, "web", AL)
    with pytest.raises(TargetAbsent):
        await asyncio.to_thread(dev_once.reset, place, "nothing")


@pytest.mark.parametrize("with_its_end", [False, True])
async def test_persistent_directories_are_purged_by_their_developer(
    store: ObjectStore, store_api: Api, place: ClusterRef, with_its_end: bool
) -> None:
    furnish(store)
    for session, owner in (("a", AL.owner), ("b", "bo@x")):
        change = await development(store_api, session, owner=owner, mode="duplicate", persist=(PersistentDir("/go"),))
        await change.enter(lambda _: None, lambda _: None)
    with pytest.raises(SessionsLive, match="develop deployment/web still"):
        await asyncio.to_thread(dev_once.purge, place, None, AL)
    if with_its_end:
        purged = (await asyncio.to_thread(partial(dev_once.end, place, "web", AL, purges=True)))["purged"]
    else:
        await asyncio.to_thread(dev_once.end, place, "web", AL)
        assert (await asyncio.to_thread(dev_once.purge, place, "db", AL))["purged"] == []
        purged = (await asyncio.to_thread(dev_once.purge, place, "web", AL))["purged"]
    assert [one["path"] for one in purged] == ["/go"]
    left = (await asyncio.to_thread(dev_once.volumes, place))["volumes"]
    assert [one["owner"] for one in left] == ["bo@x"]
