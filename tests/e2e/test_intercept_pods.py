"""The pods of a gateway come and go, as pods do."""

import os
import sys
from contextlib import closing
from http import HTTPStatus

import pytest

from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import EXPOSED, LOCAL
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import Visitors
from tests.lab.sessions.intercept import Intercept, intercepting
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import until_answered

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

POD_PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"
PODS = ("pod", "-l", "ktpy.dev/gateway=web")
TIMEOUT_S = 120
PATIENT = (
    *(sys.executable, "-c"),
    "from ktpy.cluster.changes import gateway_pods; from ktpy.__main__ import main; gateway_pods.SETTLED_S = 3; main()",
)
"""It lets a pod be ready for 3 s before it depends on it, not 0.25 s: a busy machine takes so long to meddle."""


def ready_pods(lab: Lab) -> list[str]:
    pods = lab.api.get(f"{POD_PATH}?labelSelector=ktpy.dev/gateway%3Dweb")["items"]
    conditions = {pod["metadata"]["name"]: pod["status"].get("conditions") or [] for pod in pods}
    return [
        name for name, found in conditions.items() if ("Ready", "True") in {(c["type"], c["status"]) for c in found}
    ]


def test_one_whose_readiness_is_taken_back_has_to_be_ready_again(lab: Lab, visitors: Visitors) -> None:
    """As a kubelet may do (kubernetes/kubernetes#103717); this one puts right what others write within 10 s."""
    started = Intercept(lab, "exchange", "web", "-n", NAMESPACE, *EXPOSED, program=PATIENT)
    with serving(lab, LOCAL), closing(started) as intercept:
        wait_until(lambda: bool(ready_pods(lab)), TIMEOUT_S, "a gateway pod to be ready")
        [pod] = ready_pods(lab)
        unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        assert lab.api.request(f"{POD_PATH}/{pod}/status", patch=unready)[0] == HTTPStatus.OK
        intercept.wait_ready()
        assert ready_pods(lab) == [pod]
        until_answered(visitors, "local")
    until_answered(visitors, "web")


def test_one_that_is_deleted_serves_until_another_does(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED):
        until_answered(visitors, "local")
        lab.kubectl("-n", NAMESPACE, "delete", *PODS, "--wait=true", timeout_s=TIMEOUT_S)
        until_answered(visitors, "local")
    until_answered(visitors, "web")


def test_each_of_two_leads_to_the_laptop(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED, "--replicas", "2"):
        lab.kubectl("-n", NAMESPACE, "wait", *PODS, "--for=condition=Ready", f"--timeout={TIMEOUT_S}s")
        assert len(lab.kubectl("-n", NAMESPACE, "get", *PODS, "-o", "name").split()) == 2
        until_answered(visitors, "local")
    until_answered(visitors, "web")
