import asyncio

import pytest

from ktpy.cluster.names import holder_annotation, holders, labels
from ktpy.cluster.sharing import shared_object
from ktpy.cluster.sharing.shared_object import SharedObject
from ktpy.errors import NameTaken, RestoreIncomplete
from ktpy.kube import writes
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.kube.object_store import SERVICES, ObjectStore

NAME = "web-ktpy-origin"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "RETRY_S", 0.0)


@pytest.fixture
def thing(store_api: Api) -> SharedObject:
    return SharedObject(store_api, SERVICES, NAME, "web")


def manifest(session: str) -> Json:
    return {
        "metadata": {
            "name": NAME,
            "labels": labels("origin", owner=session, session=session, target="web"),
            "annotations": {holder_annotation(session): session},
        },
        "spec": {},
    }


def users(store: ObjectStore) -> set[str]:
    found = store.get(SERVICES, NAME)
    return set(holders(found["metadata"].get("annotations") or {})) if found else set()


async def test_the_first_creates_and_others_join(store: ObjectStore, thing: SharedObject) -> None:
    first = await thing.hold(manifest("a"), "a", "al")
    second = await thing.hold(manifest("b"), "b", "bo")
    assert first["metadata"]["uid"] == second["metadata"]["uid"]
    assert users(store) == {"a", "b"}


async def test_who_has_seen_it_joins_at_once(store: ObjectStore, thing: SharedObject) -> None:
    await thing.hold(manifest("a"), "a", "al")
    store.before[f"POST {SERVICES.rpartition('/')[2]}"] = [pytest.fail]
    await thing.hold(manifest("b"), "b", "bo", await thing.look())
    assert users(store) == {"a", "b"}


async def test_what_was_seen_and_is_gone_is_made_anew(store: ObjectStore, thing: SharedObject) -> None:
    await thing.hold(manifest("a"), "a", "al")
    seen = await thing.look()
    await thing.release({"a"})
    await thing.hold(manifest("b"), "b", "bo", seen)
    assert users(store) == {"b"}


async def test_what_may_not_be_seen_is_tried(store: ObjectStore, thing: SharedObject) -> None:
    store.forbidden.add("get services")
    assert await thing.look() is None


async def test_it_goes_with_the_last_one(store: ObjectStore, thing: SharedObject) -> None:
    await thing.hold(manifest("a"), "a", "al")
    await thing.hold(manifest("b"), "b", "bo")
    assert await thing.release({"a"}) is None
    assert users(store) == {"b"}
    deleted = await thing.release({"b"})
    assert deleted is not None
    assert store.names(SERVICES) == []
    assert await thing.release({"b"}) is None


async def test_several_leave_at_the_same_instant(store: ObjectStore, thing: SharedObject) -> None:
    sessions = [f"s{number}" for number in range(10)]
    for session in sessions:
        await thing.hold(manifest(session), session, session)
    gone = await asyncio.gather(*(thing.release({session}) for session in sessions))
    assert store.names(SERVICES) == []
    assert sum(one is not None for one in gone) == 1


async def test_who_joins_before_the_deletion_keeps_it(store: ObjectStore, thing: SharedObject) -> None:
    await thing.hold(manifest("a"), "a", "al")

    def join() -> None:
        found = store.get(SERVICES, NAME)
        assert found is not None
        found["metadata"].setdefault("annotations", {})[holder_annotation("b")] = "bo"
        store.put(SERVICES, found)

    store.before[f"DELETE services/{NAME}"] = [join]
    assert await thing.release({"a"}) is None
    assert users(store) == {"b"}


async def test_who_joins_after_the_deletion_makes_another(store: ObjectStore, thing: SharedObject) -> None:
    old = await thing.hold(manifest("a"), "a", "al")
    store.before[f"PATCH services/{NAME}"] = [lambda: store.remove(SERVICES, NAME)]
    new = await thing.hold(manifest("b"), "b", "bo")
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert users(store) == {"b"}


async def test_joining_waits_for_a_deletion_under_way(store: ObjectStore, thing: SharedObject) -> None:
    dying = manifest("a")
    dying["metadata"]["deletionTimestamp"] = "2030-01-01T12:00:00Z"
    store.put(SERVICES, dying)
    joining = asyncio.create_task(thing.hold(manifest("b"), "b", "bo"))
    await asyncio.sleep(0.1)
    assert not joining.done()
    store.remove(SERVICES, NAME)
    await asyncio.wait_for(joining, 5)
    assert users(store) == {"b"}


async def test_a_deletion_that_never_ends(
    store: ObjectStore, thing: SharedObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_object, "DELETION_TIMEOUT_S", 0.1)
    dying = manifest("a")
    dying["metadata"]["deletionTimestamp"] = "2030-01-01T12:00:00Z"
    store.put(SERVICES, dying)
    with pytest.raises(RestoreIncomplete, match="is being deleted"):
        await thing.hold(manifest("b"), "b", "bo")


async def test_somebody_elses_object_is_left_alone(store: ObjectStore, thing: SharedObject) -> None:
    store.put(SERVICES, {"kind": "Service", "metadata": {"name": NAME}, "spec": {}})
    with pytest.raises(NameTaken, match=f"Service {NAME} exists in this namespace and is not ktpy's"):
        await thing.hold(manifest("a"), "a", "al")
    assert await thing.release({"a"}) is None
    assert store.names(SERVICES) == [NAME]


async def test_dead_holders_go_along(store: ObjectStore, thing: SharedObject) -> None:
    for session in ("a", "b", "dead"):
        await thing.hold(manifest(session), session, session)
    await thing.release({"a", "dead"})
    assert users(store) == {"b"}
