from typing import Any

import pytest

from ktpy.cluster.pods.claims import CLAIMS, placement_beside
from ktpy.errors import KtpyError, TargetAbsent, TargetUnsuitable
from ktpy.kube.client import Api
from tests.unit.kube.object_store import PODS, ObjectStore

HINT = "what to do"


def claim(store: ObjectStore, name: str, mode: str = "ReadWriteOnce") -> None:
    store.put(CLAIMS.path("shop"), {"metadata": {"name": name}, "spec": {"accessModes": [mode]}})


def user(store: ObjectStore, name: str, node: str | None, *claims: str, phase: str = "Running") -> None:
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    spec: dict[str, Any] = {"volumes": volumes} | ({"nodeName": node} if node else {})
    store.put(PODS, {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}})


def nodes(placement: dict[str, Any]) -> list[str]:
    if not placement:
        return []
    required = placement["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [field] = required["nodeSelectorTerms"][0]["matchFields"]
    assert (field["key"], field["operator"]) == ("metadata.name", "In")
    return list(field["values"])


async def test_it_runs_beside_the_pod_that_uses_the_claim(store: ObjectStore, store_api: Api) -> None:
    claim(store, "data")
    user(store, "waiting", None, "data")
    user(store, "ended", "node2", "data", phase="Succeeded")
    user(store, "other", "node3", "else")
    assert nodes(await placement_beside(store_api, {"data"}, HINT)) == []
    user(store, "db-0", "node1", "data")
    assert nodes(await placement_beside(store_api, {"data"}, HINT)) == ["node1"]
    assert nodes(await placement_beside(store_api, set(), HINT)) == []


async def test_a_claim_that_many_may_use_is_used_anywhere(store: ObjectStore, store_api: Api) -> None:
    claim(store, "data", "ReadWriteMany")
    user(store, "db-0", "node1", "data")
    assert nodes(await placement_beside(store_api, {"data"}, HINT)) == []


async def refusal(api: Api, *claims: str) -> KtpyError:
    with pytest.raises(KtpyError, match="nothing was changed") as caught:
        await placement_beside(api, claims, HINT)
    assert caught.value.hint == HINT
    return caught.value


async def test_refusals(store: ObjectStore, store_api: Api) -> None:
    claim(store, "own", "ReadWriteOncePod")
    claim(store, "one")
    claim(store, "two")
    user(store, "db-0", "node1", "own", "one")
    user(store, "db-1", "node2", "two")
    assert isinstance(await refusal(store_api, "absent"), TargetAbsent)
    alone = await refusal(store_api, "own")
    assert (type(alone), "db-0 has it" in alone.message) == (TargetUnsuitable, True)
    apart = await refusal(store_api, "one", "two")
    assert (type(apart), "one on node1, two on node2" in apart.message) == (TargetUnsuitable, True)
