import pytest

from ktpy.cluster.changes import sweep
from ktpy.cluster.changes.shadow import dead_jobs
from ktpy.cluster.pods.shadow_manifest import DEADLINE_S, START_MARGIN_S, shadow_job
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.kube.object_store import ObjectStore

JOBS = "/apis/batch/v1/namespaces/shop/jobs"


def put(store: ObjectStore, session: str, deadline_s: int | None) -> Json:
    job = shadow_job(session=session, owner="al", namespace="shop", image="i", public_key="k", pod_timeout_s=60)
    job["metadata"]["creationTimestamp"] = store.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    if deadline_s is None:
        del job["spec"]["activeDeadlineSeconds"]
    else:
        job["spec"]["activeDeadlineSeconds"] = deadline_s
    return store.put(JOBS, job)


async def names(api: Api, namespace: str | None = "shop") -> list[str]:
    return [job["metadata"]["name"] for job in await dead_jobs(api, namespace)]


@pytest.mark.parametrize(
    ("deadline_s", "age_s", "is_dead"),
    [
        (90, 59, False),  # it may be starting
        (90, 61, True),
        (500 + DEADLINE_S, 560, False),  # put off a minute ago
        (500 + DEADLINE_S, 501 + DEADLINE_S - START_MARGIN_S, True),
        (None, 5000, False),  # of an older ktpy
    ],
)
async def test_a_job_close_to_its_deadline_is_of_a_dead_session(
    store: ObjectStore, store_api: Api, deadline_s: int | None, age_s: float, is_dead: bool
) -> None:
    put(store, "a", deadline_s)
    store.pass_time(age_s)
    assert await names(store_api) == await names(store_api, None) == (["ktpy-shadow-a"] if is_dead else [])


async def test_clean_names_and_removes_it(store: ObjectStore, store_api: Api) -> None:
    put(store, "dead", 90)
    store.pass_time(100)
    put(store, "alive", 90)
    found = await sweep.find(store_api, None)
    assert [(one.kind, one.namespace, one.name) for one in found] == [("job", "shop", "ktpy-shadow-dead")]
    assert found[0].reason == "al is not connected by it"
    assert await sweep.remove(store_api, None) == (found, [])
    assert store.names(JOBS) == ["ktpy-shadow-alive"]


async def test_a_job_whose_deadline_is_put_off_at_the_last_moment_stays(store: ObjectStore, store_api: Api) -> None:
    job = put(store, "a", 90)
    store.pass_time(100)
    store.before["DELETE jobs/ktpy-shadow-a"] = [lambda: store.put(JOBS, job)]
    assert await sweep.remove(store_api, "shop") == ([], [])
    assert store.names(JOBS) == ["ktpy-shadow-a"]


async def test_who_may_not_list_jobs_cleans_the_rest(store: ObjectStore, store_api: Api) -> None:
    put(store, "a", 90)
    store.pass_time(100)
    store.forbidden.add("list jobs")
    assert await sweep.find(store_api, "shop") == []
