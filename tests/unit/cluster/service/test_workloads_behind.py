from collections.abc import Mapping
from typing import Any

import pytest

from ktpy.cluster.names import MANAGED_BY
from ktpy.cluster.service.workloads_behind import find_service, present, workload_behind
from ktpy.errors import KtpyError, TargetAbsent, TargetAmbiguous, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.resources import Resource
from tests.unit.kube.object_store import PODS, SERVICES, ObjectStore

DEPLOYMENTS = Resource("apps", "v1", "deployments").path("shop")
REPLICA_SETS = Resource("apps", "v1", "replicasets").path("shop")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets").path("shop")
JOBS = Resource("batch", "v1", "jobs").path("shop")
WEB = {"app": "web"}


def owner(kind: str, name: str, api_version: str = "apps/v1") -> list[dict[str, Any]]:
    return [{"kind": kind, "name": name, "apiVersion": api_version, "controller": True}]


def put(
    store: ObjectStore,
    collection: str,
    name: str,
    owners: list[dict[str, Any]] | None = None,
    labels: Mapping[str, str] = WEB,
    **more: Any,
) -> None:
    store.put(collection, {"metadata": {"name": name, "labels": labels, "ownerReferences": owners or []}, **more})


@pytest.fixture
def web(store: ObjectStore) -> ObjectStore:
    store.put(SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": WEB}})
    return store


async def behind(api: Api) -> str:
    service = await find_service(api, "web")
    assert service
    return str(await workload_behind(api, service))


async def refusal(api: Api) -> KtpyError:
    with pytest.raises(KtpyError) as caught:
        await behind(api)
    return caught.value


async def test_the_owner_of_the_pods_that_it_selects(web: ObjectStore, store_api: Api) -> None:
    put(web, REPLICA_SETS, "store-1", owner("Deployment", "store"))
    put(web, PODS, "store-1-a", owner("ReplicaSet", "store-1"))
    put(web, PODS, "store-1-b", owner("ReplicaSet", "store-1"))
    put(web, PODS, "other", labels={"app": "other"})
    put(web, PODS, "old", owner("StatefulSet", "gone"), status={"phase": "Succeeded"})
    put(web, PODS, "gateway", owner("ReplicaSet", "gateway"), WEB | {MANAGED_BY: "ktpy"})
    assert await behind(store_api) == "deployment/store"


@pytest.mark.parametrize(
    ("owners", "found"),
    [
        ([], "pod/web-0"),
        (owner("StatefulSet", "db"), "statefulset/db"),
        (owner("CloneSet", "web", "apps.kruise.io/v1alpha1"), "cloneset.apps.kruise.io/web"),
        (owner("Job", "once", "batch/v1"), "job/once"),
    ],
)
async def test_other_owners(web: ObjectStore, store_api: Api, owners: list[dict[str, Any]], found: str) -> None:
    put(web, JOBS, "once")
    put(web, PODS, "web-0", owners)
    assert await behind(store_api) == found


async def test_several_are_named(web: ObjectStore, store_api: Api) -> None:
    put(web, PODS, "a-0", owner("StatefulSet", "a"))
    put(web, PODS, "b-0", owner("StatefulSet", "b"))
    several = await refusal(store_api)
    assert isinstance(several, TargetAmbiguous)
    assert "statefulset/a and statefulset/b" in several.message


async def test_without_pods_it_is_whose_template_has_the_labels(web: ObjectStore, store_api: Api) -> None:
    absent = await refusal(store_api)
    assert isinstance(absent, TargetAbsent)
    assert "app=web" in absent.message
    put(web, DEPLOYMENTS, "store", spec={"template": {"metadata": {"labels": WEB | {"x": "y"}}}})
    put(web, DEPLOYMENTS, "other", spec={"template": {"metadata": {"labels": {"app": "other"}}}})
    web.forbidden = {"list statefulsets"}
    assert await behind(store_api) == "deployment/store"


@pytest.mark.parametrize("selector", [None, {}])
async def test_a_service_without_a_selector(store: ObjectStore, store_api: Api, selector: dict[str, str]) -> None:
    store.put(SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": selector}})
    assert isinstance(await refusal(store_api), TargetUnsuitable)


async def test_what_there_is(web: ObjectStore, store_api: Api) -> None:
    put(web, DEPLOYMENTS, "store")
    put(web, DEPLOYMENTS, "gateway", labels={MANAGED_BY: "ktpy"})
    web.forbidden = {"list statefulsets"}
    assert await present(store_api) == ["deployment/store", "service/web"]
    assert await find_service(store_api, "none") is None
