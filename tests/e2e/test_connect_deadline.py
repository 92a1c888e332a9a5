"""A Job whose pod does not end by itself, as where others inject a container into it, ends by its deadline."""

import json
import time

from ktpy.cluster.pods.shadow_manifest import TTL_S, shadow_job
from tests.lab import Lab
from tests.lab.images import WORKLOAD_IMAGE
from tests.lab.processes import wait_until

NAMESPACE = "shop"
SOON_S = 60.0
FIRST_S, PUT_OFF_S = 8, 600


def test_a_deadline_that_is_put_off_counts_from_the_start_of_the_job(lab: Lab) -> None:
    job = shadow_job(
        session="5tuck", owner="dev", namespace=NAMESPACE, image=WORKLOAD_IMAGE, public_key="none", pod_timeout_s=0
    )
    job["spec"]["activeDeadlineSeconds"] = FIRST_S
    [container] = job["spec"]["template"]["spec"]["containers"]
    container["command"] = ["sleep", "infinity"]
    lab.kubectl("create", "-f", "-", stdin=json.dumps(job))
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job['metadata']['name']}"
    wait_until(lambda: lab.api.get(path)["status"].get("active") == 1, SOON_S, "the Job to start")
    began_s = time.monotonic()
    assert lab.api.request(path, patch={"spec": {"activeDeadlineSeconds": PUT_OFF_S}})[0] == 200
    wait_until(lambda: time.monotonic() - began_s > FIRST_S + 2, SOON_S, "the first deadline to pass")
    assert lab.api.get(path)["status"]["active"] == 1
    assert lab.api.request(path, patch={"spec": {"activeDeadlineSeconds": FIRST_S}})[0] == 200
    wait_until(lambda: lab.api.request(path)[0] == 404, TTL_S + SOON_S, "the Job to go")
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=ktpy.dev%2Fsession%3D5tuck"
    wait_until(lambda: lab.api.get(pods)["items"] == [], SOON_S, "its pod to go")
