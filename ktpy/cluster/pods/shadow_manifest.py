"""The Job behind the shadow pod, as a manifest. Pure.

A Job, because it cleans up after itself: the agent ends when no laptop has spoken for a minute, and the TTL takes the
Job and its pod away. The Job's deadline, which the laptop puts off while it lives, ends the containers that others have
injected into the pod, too.
"""

from collections.abc import Mapping
from typing import Any, Final

from ktpy.cluster.names import DESCRIPTION, OWNER, SESSION, authorized_key_annotation, labels, shadow_name
from ktpy.cluster.pods import agent_pod
from ktpy.cluster.pods.overlay import overlaid
from ktpy.kube.objects import Json, labels_of, metadata_of
from ktpy.wire.pod import SSHD_ADDRESSES_VARIABLE, SSHD_PORT

START_MARGIN_S = 30
"""The cluster ends a pod that nobody reaches this much later than the laptop's time-out."""
DEADLINE_S = 100
"""A session's Job ends this long after the laptop has put its deadline off for the last time, and as much later as
connections wait for a lost link."""
TTL_S = 10

_POD_ADDRESSES: Final[Json] = {
    "name": SSHD_ADDRESSES_VARIABLE,
    "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}},
}


def shadow_service(job: Json, job_uid: str) -> Json:
    """Return the Service by which the pod of a Job is reached on its own node.

    It goes with the Job. No other node forwards to the pod, and it sees who connects (`externalTrafficPolicy`).
    """
    metadata = metadata_of(job)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": job_uid}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": metadata["name"], "labels": labels_of(job), "ownerReferences": [owner]},
        "spec": {
            "type": "NodePort",
            "externalTrafficPolicy": "Local",
            "selector": {SESSION: labels_of(job)[SESSION]},
            "ports": [{"name": "ssh", "port": SSHD_PORT, "protocol": "TCP"}],
        },
    }


def shadow_job(
    *,
    session: str,
    owner: str,
    namespace: str,
    image: str,
    public_key: str,
    pod_timeout_s: float,
    pod_overlay: Mapping[str, Any] | None = None,
    is_exposed: bool = False,
    does: str = "connect",
) -> Json:
    """Return the Job of one session; `public_key` is `ssh-ed25519 AAAA...`. The sshd of a pod that `is_exposed` may be
    reached past the API server, by the pod's own addresses. `does` tells others what it is for: `run web`."""
    object_labels = labels("shadow", owner=owner, session=session)
    template: Json = {
        "metadata": {
            "labels": object_labels | agent_pod.NOT_IN_A_MESH,
            "annotations": agent_pod.annotations({authorized_key_annotation(session): public_key}),
        },
        "spec": {
            "restartPolicy": "Never",
            **agent_pod.pod_spec(
                image=image,
                role="shadow",
                ports=[{"name": "ssh", "containerPort": SSHD_PORT, "protocol": "TCP"}],
                requests={"cpu": "10m", "memory": "32Mi"},
                memory_limit="512Mi",
                run_dir_size="8Mi",
                termination_grace_s=2,
                # Whatever its group, the agent may ping. It is a safe sysctl, also by Pod Security `restricted`.
                sysctls=[{"name": "net.ipv4.ping_group_range", "value": "0 2147483647"}],
                container={"env": [_POD_ADDRESSES]} if is_exposed else None,
            ),
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": shadow_name(session),
            "namespace": namespace,
            "labels": object_labels,
            "annotations": {OWNER: owner, DESCRIPTION: does},
        },
        "spec": {
            "activeDeadlineSeconds": round(pod_timeout_s) + START_MARGIN_S,
            "ttlSecondsAfterFinished": TTL_S,
            # An evicted pod is replaced; one that crashes is tried twice more, the laptop gives up before.
            "backoffLimit": 2,
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": overlaid(template, pod_overlay or {}),
        },
    }
