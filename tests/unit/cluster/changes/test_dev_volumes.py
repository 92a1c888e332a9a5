from typing import Any

import pytest

from ktpy.cluster.changes import dev, dev_found, dev_volumes
from ktpy.cluster.changes.dev import DevChange
from ktpy.cluster.changes.options import PersistentDir
from ktpy.cluster.pods import claims
from ktpy.errors import KtpyError, NameTaken, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.cluster.changes.dev_cases import development, essence, furnish
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, NAMESPACE, ObjectStore

CLAIMS = claims.CLAIMS.path(NAMESPACE)
GO = PersistentDir("/go", "1Gi")


@pytest.fixture(autouse=True)
def nobody_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing makes the original's pods ready, and waiting for them takes a thousand questions, skipped time or not."""
    monkeypatch.setattr(dev, "BACK_TIMEOUT_S", 0.2)


async def developing(api: Api, session: str = "a", **options: Any) -> DevChange:
    change = await development(api, session, owner="al@laptop", persist=(GO,), storage_class="fast", **options)
    await change.enter(lambda _: None, lambda _: None)
    return change


async def test_the_claim_outlives_the_session_and_is_the_next_one_s(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    for session in ("a", "b"):
        change = await developing(store_api, session)
        [name] = store.names(CLAIMS)
        await change.leave()
    assert essence(store) == before
    assert store.names(LEASES) == []
    [found] = await dev_volumes.find(store_api, NAMESPACE)
    assert found.data() == {
        "workload": "deployment/web",
        "container": "web",
        "path": "/go",
        "owner": "al@laptop",
        "claim": name,
        "size": "1Gi",
        "storage_class": "fast",
        "phase": "Pending",
    }
    assert [one for one in store.writes if "claims" in one] == [f"POST persistentvolumeclaims/{name}"]


async def test_what_is_left_of_dead_sessions_goes_without_it(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await developing(store_api)
    store.remove(LEASES, "ktpy-a")
    ended, failures = await dev_found.end_dead(store_api, None)
    assert (len(ended), failures) == (1, [])
    assert store.names(DEPLOYMENTS) == ["web"]
    assert len(store.names(CLAIMS)) == 1


async def test_purged(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await (await developing(store_api)).leave()
    [volume] = await dev_volumes.find(store_api, NAMESPACE)
    await dev_volumes.purge(store_api, NAMESPACE, volume)
    await dev_volumes.purge(store_api, NAMESPACE, volume)  # somebody was faster
    assert store.names(CLAIMS) == []


@pytest.mark.parametrize(
    ("metadata", "error"),
    [({"annotations": {}}, NameTaken), ({"deletionTimestamp": "2030-01-01T12:00:00Z"}, TargetUnsuitable)],
)
async def test_a_claim_that_cannot_be_used_ends_the_start(
    store: ObjectStore, store_api: Api, metadata: Json, error: type[KtpyError]
) -> None:
    before = furnish(store)
    await (await developing(store_api)).leave()
    [name] = store.names(CLAIMS)
    claim = store.get(CLAIMS, name) or {}
    store.put(CLAIMS, {**claim, "metadata": {**claim["metadata"], **metadata}})
    change = await development(store_api, "b", owner="al@laptop", persist=(GO,))
    with pytest.raises(error):
        await change.enter(lambda _: None, lambda _: None)
    await change.leave()
    assert essence(store) == before
    assert store.names(DEPLOYMENTS) == ["web"]


async def test_what_somebody_has_labelled_by_hand_is_none(store: ObjectStore, store_api: Api) -> None:
    marks = {"app.kubernetes.io/managed-by": "ktpy", "ktpy.dev/role": dev_volumes.VOLUME}
    for number, text in enumerate(("{}", "[]", "no JSON", '{"workload": "web"}')):
        metadata = {"name": f"n{number}", "labels": marks, "annotations": {dev_volumes.KEEPS: text}}
        store.put(CLAIMS, {"metadata": metadata, "spec": {}})
    assert await dev_volumes.find(store_api, NAMESPACE) == []
