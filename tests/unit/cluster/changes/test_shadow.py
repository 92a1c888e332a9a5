from ktpy.cluster.changes.shadow import SHADOW
from ktpy.cluster.names import labels
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.steps import run_steps
from ktpy.kube.client import Api
from tests.unit.kube.object_store import ObjectStore

JOBS = "/apis/batch/v1/namespaces/shop/jobs"


async def test_its_removal_deletes_the_job_of_its_session(store: ObjectStore, store_api: Api) -> None:
    for session in ("5e55", "other"):
        metadata = {"name": f"ktpy-shadow-{session}", "labels": labels("shadow", owner="al", session=session)}
        store.put(JOBS, {"metadata": metadata})
    await run_steps(SHADOW.removal(store_api, Interceptee("shop", ""), {"5e55"}))
    assert store.names(JOBS) == ["ktpy-shadow-other"]
