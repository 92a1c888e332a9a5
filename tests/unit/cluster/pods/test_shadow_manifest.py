"""The manifest's promises. That Pod Security `restricted` takes it shows in e2e/connect_errors/test_pod.py."""

from typing import Any

import pytest

from ktpy.cluster.pods.shadow_manifest import shadow_job, shadow_service

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx"


@pytest.fixture
def job() -> dict[str, Any]:
    return shadow_job(
        session="5e55104",
        owner="alice@example.org",
        namespace="shop",
        image="ghcr.io/ktpy/agent:0.1.0",
        public_key=KEY,
        pod_timeout_s=60.0,
    )


@pytest.fixture
def template(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]
    return found


@pytest.fixture
def container(template: dict[str, Any]) -> dict[str, Any]:
    [found] = template["spec"]["containers"]
    return dict(found)


def test_its_sshd_is_reached_by_a_port_forward_alone_unless_it_is_exposed(container: dict[str, Any]) -> None:
    assert "env" not in container
    exposed = shadow_job(
        session="5e55104",
        owner="alice",
        namespace="shop",
        image="agent",
        public_key=KEY,
        pod_timeout_s=60.0,
        is_exposed=True,
    )
    [container] = exposed["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [
        {"name": "KTPY_SSHD_ADDRESSES", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}}
    ]


def test_its_service_leads_to_this_sessions_pod_and_goes_with_its_job(job: dict[str, Any]) -> None:
    service = shadow_service(job, "u-1")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "ktpy-shadow-5e55104", "uid": "u-1"}
    assert service["metadata"]["ownerReferences"] == [owner]
    assert service["metadata"]["labels"] == job["metadata"]["labels"]
    assert service["spec"] == {
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "selector": {"ktpy.dev/session": "5e55104"},
        "ports": [{"name": "ssh", "port": 2222, "protocol": "TCP"}],
    }


def test_job_and_pod_say_whose_they_are(job: dict[str, Any], template: dict[str, Any]) -> None:
    expected = {
        "app.kubernetes.io/managed-by": "ktpy",
        "app.kubernetes.io/name": "ktpy-shadow",
        "ktpy.dev/role": "shadow",
        "ktpy.dev/owner": "alice-example.org",
        "ktpy.dev/session": "5e55104",
    }
    told = {"ktpy.dev/owner": "alice@example.org", "ktpy.dev/description": "connect"}
    placed = {"name": "ktpy-shadow-5e55104", "namespace": "shop"}
    assert job["metadata"] == placed | {"labels": expected, "annotations": told}
    assert expected.items() <= template["metadata"]["labels"].items()


def test_the_public_key_is_an_annotation_the_agent_can_read(
    template: dict[str, Any], container: dict[str, Any]
) -> None:
    assert template["metadata"]["annotations"]["ktpy.dev/authorized-key.5e55104"] == KEY
    [podinfo] = [volume for volume in template["spec"]["volumes"] if "downwardAPI" in volume]
    assert podinfo["downwardAPI"]["items"] == [
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}
    ]
    assert {"name": "podinfo", "mountPath": "/etc/ktpy/podinfo", "readOnly": True} in container["volumeMounts"]


def test_service_meshes_leave_it_alone(template: dict[str, Any]) -> None:
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert template["metadata"]["annotations"]["linkerd.io/inject"] == "disabled"


def test_it_goes_by_itself(job: dict[str, Any]) -> None:
    assert job["spec"]["activeDeadlineSeconds"] == 90
    assert job["spec"]["ttlSecondsAfterFinished"] == 10


def test_an_evicted_pod_is_replaced(job: dict[str, Any], template: dict[str, Any]) -> None:
    [rule] = job["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert template["spec"]["restartPolicy"] == "Never"  # which podFailurePolicy demands


def test_it_has_no_rights_in_the_cluster_and_keeps_no_secret(template: dict[str, Any]) -> None:
    assert template["spec"]["automountServiceAccountToken"] is False
    assert template["spec"]["enableServiceLinks"] is False
    assert all(set(volume) & {"emptyDir", "downwardAPI"} for volume in template["spec"]["volumes"])
    assert "serviceAccountName" not in template["spec"]


def test_it_is_as_restricted_as_pod_security_knows(template: dict[str, Any], container: dict[str, Any]) -> None:
    assert template["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": [{"name": "net.ipv4.ping_group_range", "value": "0 2147483647"}],
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_host_key_stays_in_memory(template: dict[str, Any], container: dict[str, Any]) -> None:
    [run] = [volume for volume in template["spec"]["volumes"] if volume["name"] == "run"]
    assert run["emptyDir"]["medium"] == "Memory"
    assert {"name": "run", "mountPath": "/run/ktpy"} in container["volumeMounts"]


def test_what_the_user_wants_otherwise() -> None:
    overlay = {"metadata": {"labels": {"team": "shop"}}, "spec": {"nodeSelector": {"disk": "ssd"}}}
    made = shadow_job(
        session="5e55", owner="al", namespace="shop", image="i", public_key="k", pod_timeout_s=60, pod_overlay=overlay
    )["spec"]["template"]
    assert made["metadata"]["labels"]["team"] == "shop"
    assert made["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux", "disk": "ssd"}
    assert made["spec"]["restartPolicy"] == "Never"
