import pytest

from ktpy.cluster.names import SESSION
from ktpy.cluster.sharing.own_object import delete_own
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from tests.unit.kube.object_store import SERVICES, ObjectStore


@pytest.mark.parametrize(("session", "left"), [("a", []), ("b", ["pay"])])
async def test_only_the_session_that_made_it_deletes_it(
    store: ObjectStore, store_api: Api, session: str, left: list[str]
) -> None:
    store.put(SERVICES, {"metadata": {"name": "pay", "labels": {SESSION: "a"}}, "spec": {}})
    await delete_own(store_api, f"{SERVICES}/pay", session)
    assert store.names(SERVICES) == left


@pytest.mark.parametrize(("verb", "is_optional"), [("get", False), ("delete", False), ("delete", True)])
async def test_who_may_not_delete_what_may_be_there_is_told(
    store: ObjectStore, store_api: Api, verb: str, is_optional: bool
) -> None:
    store.put(SERVICES, {"metadata": {"name": "pay", "labels": {SESSION: "a"}}, "spec": {}})
    store.forbidden.add(f"{verb} services")
    with pytest.raises(Forbidden):
        await delete_own(store_api, f"{SERVICES}/pay", "a", is_optional=is_optional)
    assert store.names(SERVICES) == ["pay"]


async def test_what_is_optional_and_may_not_be_seen_is_not_there(store: ObjectStore, store_api: Api) -> None:
    store.forbidden.add("get services")
    assert not await delete_own(store_api, f"{SERVICES}/pay", "a", is_optional=True)


async def test_an_object_that_is_gone(store: ObjectStore, store_api: Api) -> None:
    await delete_own(store_api, f"{SERVICES}/pay", "a")
    assert store.writes == []
