"""Merge patches and deletions against the loopback API, while others change the same objects."""

import pytest

from ktpy.errors import RestoreIncomplete
from ktpy.kube import writes
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.refusals import Conflict, NotFound
from tests.unit.kube.object_store import SERVICES, ObjectStore

NAME = "web-ktpy-origin"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "RETRY_S", 0.0)


async def test_delete_means_one_object_in_one_version(store: ObjectStore, store_api: Api) -> None:
    item = store.put(SERVICES, {"metadata": {"name": NAME}, "spec": {}})["metadata"]
    for uid, version in (("other", None), (item["uid"], "0")):
        with pytest.raises(Conflict):
            await writes.delete(store_api, f"{SERVICES}/{NAME}", uid, version)
    await writes.delete(store_api, f"{SERVICES}/{NAME}", item["uid"], item["resourceVersion"])
    with pytest.raises(NotFound):
        await writes.delete(store_api, f"{SERVICES}/{NAME}", item["uid"])
    await writes.delete(store_api, f"{SERVICES}/{NAME}", item["uid"], missing_ok=True)


async def test_a_patch_of_an_object_that_another_has_replaced_is_a_conflict(store: ObjectStore, store_api: Api) -> None:
    item = store.put(SERVICES, {"metadata": {"name": NAME}, "spec": {}})
    other = item | {"metadata": item["metadata"] | {"uid": "other"}}
    with pytest.raises(Conflict, match="field is immutable"):
        await writes.annotate(store_api, f"{SERVICES}/{NAME}", other, {"a": "b"})


async def test_patch_object_starts_again_from_what_others_made_of_it(store: ObjectStore, store_api: Api) -> None:
    item = store.put(SERVICES, {"metadata": {"name": "web"}, "spec": {"n": 1}})

    def somebody() -> None:
        store.put(SERVICES, item | {"spec": {"n": 5}})

    def add_one(found: Json) -> Json:
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        return {"metadata": version, "spec": {"n": found["spec"]["n"] + 1}}

    store.before["PATCH services/web"] = [somebody]
    patched, is_changed = await writes.patch_object(store_api, f"{SERVICES}/web", add_one)
    assert (patched["spec"]["n"], is_changed) == (6, True)


async def test_patch_object_asks_for_nothing_that_was_seen_and_starts_again_where_it_has_changed(
    store: ObjectStore, store_api: Api
) -> None:
    seen = store.put(SERVICES, {"metadata": {"name": "web"}, "spec": {"n": 1}})
    asked: list[str] = []

    def add_one(found: Json) -> Json:
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        return {"metadata": version, "spec": {"n": found["spec"]["n"] + 1}}

    store.before["GET services/web"] = [lambda: asked.append("GET")]
    first, _ = await writes.patch_object(store_api, f"{SERVICES}/web", add_one, seen)
    assert (first["spec"]["n"], asked) == (2, [])
    second, _ = await writes.patch_object(store_api, f"{SERVICES}/web", add_one, seen)
    assert (second["spec"]["n"], asked) == (3, ["GET"])


async def test_patch_object_gives_up_some_time(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "ATTEMPTS", 3)
    store.put(SERVICES, {"metadata": {"name": "web"}, "spec": {}})
    with pytest.raises(RestoreIncomplete):
        await writes.patch_object(store_api, f"{SERVICES}/web", lambda _: {"metadata": {"resourceVersion": "0"}})
