from types import SimpleNamespace

import pytest

from ktpy.cluster.pods.shadow_manifest import shadow_job
from ktpy.doctor import leftovers
from ktpy.doctor.finding import State
from ktpy.kube.client import Api
from tests.unit.kube.object_store import ObjectStore

JOBS = "/apis/batch/v1/namespaces/shop/jobs"


@pytest.mark.parametrize(
    ("left", "state", "seen"),
    [
        ([], State.OK, "No killed ktpy has left anything here."),
        ([("route 10.96.0.0/12", "link ktpy0")], State.WARNING, "has left: route 10.96.0.0/12, link ktpy0."),
    ],
)
def test_on_the_laptop(monkeypatch: pytest.MonkeyPatch, left: list[tuple[str, ...]], state: State, seen: str) -> None:
    monkeypatch.setattr(leftovers, "stale_journals", lambda: [SimpleNamespace(left=one) for one in left])
    found = leftovers.on_laptop()
    assert found.state is state
    assert seen in found.seen


async def test_in_the_cluster(store: ObjectStore, store_api: Api) -> None:
    assert (await leftovers.in_cluster(store_api)).state is State.OK
    job = shadow_job(session="a", owner="al", namespace="shop", image="i", public_key="k", pod_timeout_s=60)
    job["metadata"]["creationTimestamp"] = store.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    store.put(JOBS, job)
    store.pass_time(1000)
    found = await leftovers.in_cluster(store_api)
    assert (found.state, found.seen) == (State.WARNING, "Dead sessions have left: job ktpy-shadow-a.")
    assert found.mend == "ktpy clean -n shop"
    store.forbidden.add("list services")
    assert (await leftovers.in_cluster(store_api)).state is State.NOT_MADE
