"""A gateway that is told to go waits until no new connection has come for 1 s, not for 3 s: one node hears of it soon.

It is the lab's API server that sets the agent's variable in each gateway's pod (MutatingAdmissionPolicy, KEP-3962), so
that ktpy's objects are what they are elsewhere.
"""

from typing import Any

DRAIN_S = 1
NAME = "gateways-drain-for-a-short-time"
_API = "admissionregistration.k8s.io/v1"
_PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
_GATEWAYS = {"matchExpressions": [{"key": "ktpy.dev/gateway", "operator": "Exists"}]}
_VARIABLE = f'Object.spec.containers.env{{name: "KTPY_DRAIN_S", value: "{DRAIN_S}"}}'
_PATCH = f'[JSONPatch{{op: "add", path: "/spec/containers/0/env/-", value: {_VARIABLE}}}]'


def policy() -> list[dict[str, Any]]:
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [_PODS], "objectSelector": _GATEWAYS},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": _PATCH}}],
    }
    return [
        {"apiVersion": _API, "kind": "MutatingAdmissionPolicy", "metadata": {"name": NAME}, "spec": spec},
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": NAME},
            "spec": {"policyName": NAME},
        },
    ]
