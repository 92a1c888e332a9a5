"""What the lab's API server adds to pods of others as they are made (MutatingAdmissionPolicy, KEP-3962)."""

from collections.abc import Mapping
from typing import Any

_API = "admissionregistration.k8s.io/v1"
_PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
PATH = f"/apis/{_API}/mutatingadmissionpolicies"


def adding(name: str, selector: Mapping[str, Any], *additions: tuple[str, str]) -> list[dict[str, Any]]:
    """Add these to the pods that the selector means: each has its place (a JSON pointer) and its value (in CEL)."""
    operations = (f'JSONPatch{{op: "add", path: "{path}", value: {value}}}' for path, value in additions)
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [_PODS], "objectSelector": dict(selector)},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{', '.join(operations)}]"}}],
    }
    kinds = {"MutatingAdmissionPolicy": spec, "MutatingAdmissionPolicyBinding": {"policyName": name}}
    return [{"apiVersion": _API, "kind": kind, "metadata": {"name": name}, "spec": one} for kind, one in kinds.items()]
