"""The parts of a manifest that all pods of the agent have in common. Pure.

The agent needs no rights in the cluster, no Secret and no token, and passes Pod Security `restricted`.
"""

from collections.abc import Mapping, Sequence

from ktpy.kube.objects import Json
from ktpy.wire.pod import ANNOTATIONS_FILE, PODINFO_DIR, RUN_DIR

CONTAINER = "agent"
NOT_IN_A_MESH = {"sidecar.istio.io/inject": "false"}
"""Istio reads it as a label, its older releases as an annotation."""

SECURITY_CONTEXT: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Of every container, as Pod Security `restricted` demands it."""


def annotations(own: Mapping[str, str]) -> dict[str, str]:
    """Return the agent's own annotations, which tell it things, and those that keep service meshes away."""
    return {**own, **NOT_IN_A_MESH, "linkerd.io/inject": "disabled"}


def pod_spec(
    *,
    image: str,
    role: str,
    ports: Sequence[Json],
    requests: Mapping[str, str],
    memory_limit: str,
    run_dir_size: str,
    termination_grace_s: int,
    sysctls: Sequence[Json] = (),
    container: Json | None = None,
) -> Json:
    """Return the spec of the agent's pod in one of its roles; `container` is what this role's container has besides."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": termination_grace_s,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        # There is no runAsUser, so that the image's own counts, and OpenShift may choose one.
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            **({"sysctls": list(sysctls)} if sysctls else {}),
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": [role],
                "ports": list(ports),
                "securityContext": SECURITY_CONTEXT,
                # There is no CPU limit, for it would throttle everybody's traffic while the node idles.
                "resources": {"requests": dict(requests), "limits": {"memory": memory_limit}},
                "volumeMounts": [
                    {"name": "run", "mountPath": RUN_DIR},
                    {"name": "podinfo", "mountPath": PODINFO_DIR, "readOnly": True},
                ],
                **(container or {}),
            }
        ],
        "volumes": [
            # It is in memory, so that the host key, which is made at start, never touches the node's disk.
            {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": run_dir_size}},
            {
                "name": "podinfo",
                "downwardAPI": {
                    "items": [{"path": ANNOTATIONS_FILE, "fieldRef": {"fieldPath": "metadata.annotations"}}]
                },
            },
        ],
    }
