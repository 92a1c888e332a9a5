"""A Job whose pod does not end by itself, as where others inject a container into it, ends by its deadline."""

import json
import time

from ktpy.cluster.pods.shadow_manifest import TTL_S, shadow_job
from tests.lab import Lab
from tests.lab.images import WORKLOAD_IMAGE
from tests.lab.processes import wait_until

NAMESPACE = "shop"
SLACK_S = 20.0


def test_a_deadline_that_is_put_off_counts_from_the_start_of_the_job(lab: Lab) -> None:
    job = shadow_job(
        session="5tuck", owner="dev", namespace=NAMESPACE, image=WORKLOAD_IMAGE, public_key="none", pod_timeout_s=0
    )
    job["spec"]["activeDeadlineSeconds"] = 6
    [container] = job["spec"]["template"]["spec"]["containers"]
    container["command"] = ["sleep", "infinity"]
    lab.kubectl("create", "-f", "-", stdin=json.dumps(job))
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job['metadata']['name']}"
    began_s = time.monotonic()
    wait_until(lambda: lab.api.get(path)["status"].get("active") == 1, 6, "the Job to start")
    assert lab.api.request(path, patch={"spec": {"activeDeadlineSeconds": 14}})[0] == 200
    wait_until(lambda: time.monotonic() - began_s > 10, 10, "the first deadline to pass")
    assert lab.api.get(path)["status"]["active"] == 1
    wait_until(lambda: lab.api.request(path)[0] == 404, 4 + TTL_S + SLACK_S, "the Job to go")
    assert not lab.kubectl("get", "pods", "-n", NAMESPACE, "-l", "ktpy.dev/session=5tuck", "-o", "name")
