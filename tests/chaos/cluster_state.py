"""What is in a namespace of the cluster: objects with ktpy's label, and whether the workload is what it was."""

import json
from collections.abc import Iterable
from typing import Any

from tests.lab import Lab
from tests.lab.processes import wait_until

LABEL = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dktpy"
PODS = "ktpy.dev/role"
"""A label that dev pods have, too, which are the workload's own and not managed by ktpy."""
OF_PODS = f"labelSelector={PODS.replace('/', '%2F')}"
KINDS = {
    "Service": "api/v1",
    "Pod": "api/v1",
    "Secret": "api/v1",
    "ConfigMap": "api/v1",
    "Deployment": "apis/apps/v1",
    "Job": "apis/batch/v1",
    "Lease": "apis/coordination.k8s.io/v1",
    "Ingress": "apis/networking.k8s.io/v1",
    "Role": "apis/rbac.authorization.k8s.io/v1",
}
ANSWERED_WITHIN_S = 90.0
"""By an API server that has just been started again, on a busy machine."""
SERVICE, DEPLOYMENT = "target", "original"


def _plural(kind: str) -> str:
    return f"{kind.lower()}es" if kind.endswith("s") else f"{kind.lower()}s"


def answer(lab: Lab, path: str) -> Any:
    """Return what is there. LabError when the API server does not tell."""
    found: Any = None

    def is_told() -> bool:
        nonlocal found
        found = lab.api.get(path)
        return found is not None

    wait_until(is_told, ANSWERED_WITHIN_S, f"the API server to tell what is at {path}")
    return found


def ktpys(lab: Lab, namespace: str, kinds: Iterable[str] = KINDS) -> frozenset[str]:
    """Return all of ktpy's that nobody has told to go, as `Kind name`. LabError when the API server does not tell."""
    found = []
    for kind in kinds:
        path = f"/{KINDS[kind]}/namespaces/{namespace}/{_plural(kind)}?{OF_PODS if kind == 'Pod' else LABEL}"
        found += [
            f"{kind} {item['metadata']['name']}"
            for item in answer(lab, path)["items"]
            if "deletionTimestamp" not in item["metadata"]
        ]
    return frozenset(found)


def essence(item: dict[str, Any]) -> list[str]:
    """All of an object but `resourceVersion`, `generation`, status, and the times of its managed fields."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in ("resourceVersion", "generation")}
    metadata["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in metadata.get("managedFields") or []
        if entry.get("subresource") != "status"
    ]
    return json.dumps({"metadata": metadata, "spec": item["spec"]}, sort_keys=True, indent=1).splitlines()
