import pytest

from ktpy.cluster.names import SESSION
from ktpy.cluster.sharing.own_object import delete_own
from ktpy.kube.client import Api
from tests.unit.kube.object_store import SERVICES, ObjectStore


@pytest.mark.parametrize(("session", "left"), [("a", []), ("b", ["pay"])])
async def test_only_the_session_that_made_it_deletes_it(
    store: ObjectStore, store_api: Api, session: str, left: list[str]
) -> None:
    store.put(SERVICES, {"metadata": {"name": "pay", "labels": {SESSION: "a"}}, "spec": {}})
    await delete_own(store_api, f"{SERVICES}/pay", session)
    assert store.names(SERVICES) == left


async def test_an_object_that_is_gone(store: ObjectStore, store_api: Api) -> None:
    await delete_own(store_api, f"{SERVICES}/pay", "a")
    assert store.writes == []
