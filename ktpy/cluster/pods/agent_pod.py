"""What every pod of the agent has in common, as parts of a manifest. Pure.

It needs no rights in the cluster, no Secret and no token, and passes Pod Security `restricted`.
"""

from collections.abc import Mapping, Sequence

from ktpy.kube.objects import Json

CONTAINER = "agent"
NOT_IN_A_MESH = {"sidecar.istio.io/inject": "false"}
"""As a label for Istio today, as an annotation for its older releases."""
_RUN_DIR = "/run/ktpy"
_PODINFO_DIR = "/etc/ktpy/podinfo"


def annotations(own: Mapping[str, str]) -> dict[str, str]:
    """The agent's own, through which it is told things, and those that keep service meshes away."""
    return {**own, **NOT_IN_A_MESH, "linkerd.io/inject": "disabled"}


def pod_spec(
    *,
    image: str,
    role: str,
    ports: Sequence[Json],
    requests: Mapping[str, str],
    run_dir_size: str,
    termination_grace_s: int,
    sysctls: Sequence[Json] = (),
    container: Json | None = None,
) -> Json:
    """The agent in one of its roles; `container` is what this role's container has besides."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": termination_grace_s,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        # No runAsUser: the image's own is used, and OpenShift may choose one.
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
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # No CPU limit: it would throttle everybody's traffic while the node idles.
                "resources": {"requests": dict(requests), "limits": {"memory": "512Mi"}},
                "volumeMounts": [
                    {"name": "run", "mountPath": _RUN_DIR},
                    {"name": "podinfo", "mountPath": _PODINFO_DIR, "readOnly": True},
                ],
                **(container or {}),
            }
        ],
        "volumes": [
            # In memory: the host key, made at start, never touches the node's disk.
            {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": run_dir_size}},
            {
                "name": "podinfo",
                "downwardAPI": {"items": [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]},
            },
        ],
    }
