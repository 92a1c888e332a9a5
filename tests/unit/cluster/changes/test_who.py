from typing import Any

import pytest

from ktpy.cluster.changes import who
from ktpy.cluster.changes.who import Presence
from ktpy.cluster.pods.shadow_manifest import shadow_job
from ktpy.cluster.sharing.lease import OwnLease
from ktpy.kube.client import Api
from tests.unit.cluster.changes.dev_cases import development, furnish
from tests.unit.kube.object_store import ObjectStore

JOBS = "/apis/batch/v1/namespaces/shop/jobs"
SINCE = "2030-01-01T12:00:00Z"
MATCH = {"headers": [{"name": "VERSION", "exact": "a"}], "path_prefix": None, "baggage": None}
MESH = {"kind": "mesh", "ports": [80], "match": MATCH}


async def intercept(api: Api, session: str = "m", target: str = "web", details: Any = MESH) -> None:
    await OwnLease(
        api, session=session, owner="al@x", target=target, description="mesh of port 80", details=details
    ).claim()


def connect(store: ObjectStore, session: str = "c", does: str = "connect") -> None:
    job = shadow_job(
        session=session, owner="al@x", namespace="shop", image="i", public_key="k", pod_timeout_s=60, does=does
    )
    job["metadata"]["creationTimestamp"] = store.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    store.put(JOBS, job)


async def found(api: Api, target: str | None = None, namespace: str | None = "shop") -> list[Presence]:
    presences, refused = await who.find(api, namespace, target)
    assert refused == []
    return presences


async def test_who_intercepts_develops_and_is_connected(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await intercept(store_api)
    await (await development(store_api)).enter(lambda _: None, lambda _: None)
    connect(store, does="run web")
    running, dev, mesh = await found(store_api)
    assert mesh == Presence("shop", "mesh", "web", "mesh of port 80", "al@x", "m", True, SINCE, (80,), MATCH)
    assert (dev.kind, dev.target, dev.owner, dev.is_live) == ("dev", "deployment/web", "a@laptop", True)
    assert dev.description == "dev, mode replace, container web"
    assert running == Presence("shop", "run", "", "run web", "al@x", "c", True, SINCE)
    assert await found(store_api, namespace=None) == [running, dev, mesh]


async def test_of_one_service_it_is_who_intercepts_it_or_develops_it(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await intercept(store_api)
    await intercept(store_api, "o", "other")
    await (await development(store_api)).enter(lambda _: None, lambda _: None)
    connect(store)
    for target in ("web", "deploy/web"):
        assert [one.kind for one in await found(store_api, target)] == ["dev", "mesh"]


async def test_who_is_dead_is_told_apart(store: ObjectStore, store_api: Api) -> None:
    await intercept(store_api, "old")
    connect(store, "gone")
    store.pass_time(100)
    await intercept(store_api, "new")
    connect(store, "here")
    assert {one.session: one.is_live for one in await found(store_api)} == {
        "old": False,
        "gone": False,
        "new": True,
        "here": True,
    }


async def test_what_an_older_or_a_newer_version_has_made_is_told_as_far_as_it_is_known(
    store: ObjectStore, store_api: Api
) -> None:
    await intercept(store_api, details={"kind": "mesh", "ports": "all", "match": 1})
    connect(store)
    job = store.get(JOBS, "ktpy-shadow-c") or {}
    del job["metadata"]["annotations"]
    store.put(JOBS, job)
    connected, mesh = await found(store_api)
    assert (mesh.ports, mesh.match) == ((), None)
    assert (connected.kind, connected.description, connected.owner) == ("connect", "connect", "al-x")


@pytest.mark.parametrize(
    ("right", "kinds"),
    [("list leases", ["connect"]), ("list jobs", ["mesh"]), ("list deployments", ["connect", "mesh"])],
)
async def test_what_may_not_be_looked_at_does_not_hide_the_rest(
    store: ObjectStore, store_api: Api, right: str, kinds: list[str]
) -> None:
    await intercept(store_api)
    connect(store)
    store.forbidden.add(right)
    presences, refused = await who.find(store_api, "shop")
    assert [one.kind for one in presences] == kinds
    assert refused
