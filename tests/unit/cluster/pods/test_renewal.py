"""Pods that are renewed one by one; with the real budget and controllers: e2e/test_gateway_keep.py."""

import pytest

from ktpy.cluster.pods import renewal
from ktpy.errors import Forbidden, PodNotReady, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.kube.object_store import PODS, ObjectStore

APP = {"app": "web"}


def pod(name: str, *, controller: str | None = "ReplicaSet", is_ready: bool = True) -> Json:
    owners = [{"kind": controller, "name": "web", "controller": True}] if controller else []
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(is_ready)}]}
    metadata = {"name": name, "namespace": "shop", "labels": APP, "ownerReferences": owners}
    return {"metadata": metadata, "spec": {"containers": [{}]}, "status": status}


class Cluster:
    """Evicts pods, and has a controller that replaces them."""

    def __init__(self, store: ObjectStore, *pods: Json) -> None:
        self.store = store
        self.answers: list[int] = []
        """To the next evictions; those after them succeed."""
        self.replaces = True
        self.evicted: list[str] = []
        self.dry_runs: list[str] = []
        store.evict = self.evict
        for one in pods:
            store.put(PODS, one)

    def evict(self, name: str, is_dry_run: bool) -> int:
        status = self.answers.pop(0) if self.answers else 201
        if is_dry_run:
            self.dry_runs.append(name)
        elif status == 201:
            ready = [one for one in self.store.names(PODS) if one != name]
            assert ready, "no pod is left"
            self.evicted.append(name)
            self.store.remove(PODS, name)
            if self.replaces:
                self.store.put(PODS, pod(f"{name}-new"))
        return status


@pytest.fixture
def cluster(store: ObjectStore) -> Cluster:
    return Cluster(store, pod("web-1"), pod("web-2"))


async def renew(api: Api) -> list[str]:
    told: list[str] = []
    await renewal.renew(api, "web", APP, told.append)
    return told


async def test_each_is_renewed_and_no_other(store: ObjectStore, store_api: Api, cluster: Cluster) -> None:
    store.put(PODS, pod("db-1") | {"metadata": {"name": "db-1", "labels": {"app": "db"}}})
    assert await renew(store_api) == ["pod web-1 is renewed (1 of 2)", "pod web-2 is renewed (2 of 2)"]
    assert cluster.evicted == ["web-1", "web-2"]
    assert store.names(PODS) == ["db-1", "web-1-new", "web-2-new"]


async def test_a_budget_is_waited_for(store_api: Api, cluster: Cluster) -> None:
    cluster.answers = [429, 429, 201]
    assert len(await renew(store_api)) == 2


async def test_a_budget_that_never_lets_it_go(store_api: Api, cluster: Cluster) -> None:
    cluster.answers = [429] * 1000
    with pytest.raises(PodNotReady, match=r"Pod web-1 may not be evicted, also after 120 s; .* Cannot evict pod"):
        await renew(store_api)
    assert cluster.evicted == []


async def test_without_a_replacement_the_next_one_stays(store_api: Api, cluster: Cluster) -> None:
    cluster.replaces = False
    with pytest.raises(PodNotReady, match="Pod web-1 was evicted, and none in its place is ready after 300 s"):
        await renew(store_api)
    assert cluster.evicted == ["web-1"]


@pytest.mark.parametrize("status", [404, 409])
async def test_one_that_has_gone_by_itself(store_api: Api, cluster: Cluster, status: int) -> None:
    cluster.answers = [status]
    assert await renew(store_api) == ["pod web-2 is renewed (2 of 2)"]


async def test_it_is_tried_first_and_changes_nothing(store: ObjectStore, store_api: Api, cluster: Cluster) -> None:
    cluster.answers = [429]
    await renewal.refuse_renewal(store_api, "web", APP)
    assert (cluster.dry_runs, cluster.evicted) == (["web-1"], [])


@pytest.mark.parametrize("controller", [None, "Job", "Node"])
async def test_pods_that_nobody_would_replace(store: ObjectStore, store_api: Api, controller: str | None) -> None:
    Cluster(store, pod("web-1"), pod("web-2", controller=controller))
    with pytest.raises(TargetUnsuitable, match="no controller would replace pod web-2"):
        await renewal.refuse_renewal(store_api, "web", APP)


async def test_the_only_pod_that_is_ready(store: ObjectStore, store_api: Api) -> None:
    Cluster(store, pod("web-1"), pod("web-2", is_ready=False))
    with pytest.raises(TargetUnsuitable, match="it has 1 ready pod,"):
        await renewal.refuse_renewal(store_api, "web", APP)


async def test_who_may_not_evict_is_told_the_rule(store: ObjectStore, store_api: Api, cluster: Cluster) -> None:
    store.forbidden.add("post pods/eviction")
    with pytest.raises(Forbidden) as refused:
        await renewal.refuse_renewal(store_api, "web", APP)
    assert "pods/eviction" in (refused.value.hint or "")
