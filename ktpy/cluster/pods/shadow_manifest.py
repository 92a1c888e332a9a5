"""The Job behind the shadow pod, as a manifest. Pure.

A Job, because it cleans up after itself: the agent ends when no laptop has spoken for a minute, and the TTL takes the
Job and its pod away. It needs no rights in the cluster, no Secret, and passes Pod Security `restricted`.
"""

from typing import Any

from ktpy.cluster.names import authorized_key_annotation, labels, shadow_name

SHADOW_PORT = 2222
"""sshd's port; it listens on the pod's loopback, which only a port-forward reaches."""
CONTAINER = "agent"
START_MARGIN_S = 30
"""The cluster's own limit for a pod that nobody comes to reach: the laptop's time-out and this."""
TTL_S = 10
_RUN_DIR = "/run/ktpy"
_PODINFO_DIR = "/etc/ktpy/podinfo"


def shadow_job(
    *, session: str, owner: str, namespace: str, image: str, public_key: str, pod_timeout_s: float
) -> dict[str, Any]:
    """The Job of one session; `public_key` is `ssh-ed25519 AAAA...`."""
    object_labels = labels("shadow", owner=owner, session=session)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": shadow_name(session), "namespace": namespace, "labels": object_labels},
        "spec": {
            "activeDeadlineSeconds": round(pod_timeout_s) + START_MARGIN_S,
            "ttlSecondsAfterFinished": TTL_S,
            # An evicted pod is replaced; one that crashes is tried twice more, the laptop gives up before.
            "backoffLimit": 2,
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": {
                "metadata": {
                    "labels": object_labels | {"sidecar.istio.io/inject": "false"},
                    "annotations": {
                        authorized_key_annotation(session): public_key,
                        "sidecar.istio.io/inject": "false",
                        "linkerd.io/inject": "disabled",
                    },
                },
                "spec": _pod_spec(image),
            },
        },
    }


def _pod_spec(image: str) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 2,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        # No runAsUser: the image's own is used, and OpenShift may choose one.
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["shadow"],
                "ports": [{"name": "ssh", "containerPort": SHADOW_PORT, "protocol": "TCP"}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # No CPU limit: it would throttle the tunnel while the node idles.
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}},
                "volumeMounts": [
                    {"name": "run", "mountPath": _RUN_DIR},
                    {"name": "podinfo", "mountPath": _PODINFO_DIR, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            # In memory: the host key, made at start, never touches the node's disk.
            {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
            {
                "name": "podinfo",
                "downwardAPI": {"items": [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]},
            },
        ],
    }
