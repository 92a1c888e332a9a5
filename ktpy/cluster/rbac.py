"""The rights ktpy needs, as data: the one source for the documentation, the hints of errors, and the tests.

`python -m ktpy.cluster.rbac NAMESPACE USER [--intercept]` prints the manifest an administrator applies.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a Role. `why` becomes its comment in the documentation."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str = ""

    def document(self) -> dict[str, list[str]]:
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": list(self.verbs)}


CONNECT = (
    Rule("batch", "jobs", ("create", "get", "patch", "delete"), "the pod ktpy talks through is a Job"),
    Rule("", "pods", ("get", "list", "watch"), "to see that pod start, and addresses of pods"),
    Rule("", "pods/portforward", ("get", "create"), "the tunnel; a WebSocket begins with a GET"),
    Rule("", "events", ("list", "watch"), "to say why the pod does not start"),
    Rule("", "services", ("list", "watch"), "names for DNS"),
    Rule("discovery.k8s.io", "endpointslices", ("list", "watch"), "names of headless services for DNS"),
)
"""Without these, in the user's own namespace, `connect` does not work."""

HOST_KEY_CHECK = (Rule("", "pods/log", ("get",), "to compare the SSH host key with the one the pod printed"),)
"""In the user's own namespace, optional."""

WHOLE_CLUSTER = (
    Rule("", "services", ("list", "watch"), "names of all namespaces, not only the user's own"),
    Rule("discovery.k8s.io", "endpointslices", ("list", "watch"), "the same, for headless services"),
    Rule("networking.k8s.io", "servicecidrs", ("list",), "the service range"),
    Rule("", "nodes", ("list", "watch"), "the pod ranges, of nodes that come later too"),
    Rule("", "pods", ("list", "watch"), "pod addresses outside the ranges of the nodes"),
)
"""Cluster-wide and optional: with these, every namespace resolves and whole ranges are routed."""

INTERCEPT = (
    Rule(
        "",
        "services",
        ("get", "list", "watch", "create", "patch", "delete"),
        "to let the service select the gateway, and to keep its own pods reachable behind it",
    ),
    Rule("apps", "deployments", ("get", "list", "watch", "create", "patch", "delete"), "the gateway"),
    Rule(
        "", "pods", ("get", "list", "watch", "patch"), "to see the gateway start, and to add the session's public key"
    ),
    Rule("", "pods/portforward", ("get", "create"), "the tunnel; a WebSocket begins with a GET"),
    Rule("discovery.k8s.io", "endpointslices", ("list",), "to know when traffic has moved"),
    Rule(
        "coordination.k8s.io",
        "leases",
        ("get", "list", "create", "patch", "delete"),
        "by which others see that a session is alive",
    ),
)
"""For `exchange`, `mesh`, `preview`, `leave`, `list`, `clean` and `recover`, in the namespace of the service."""

INTERCEPT_OPTIONAL = (
    Rule("apps", "statefulsets", ("get",), "to find the service of statefulset/NAME"),
    Rule("apps", "daemonsets", ("get",), "to find the service of daemonset/NAME"),
    Rule("networking.k8s.io", "networkpolicies", ("list",), "to warn of policies that would keep traffic off"),
    Rule("networking.k8s.io", "ingresses", ("get", "list", "create", "delete"), "for preview --ingress"),
)
"""In the same namespace; each is for what it says only."""

INGRESS_CLASSES = (Rule("networking.k8s.io", "ingressclasses", ("list",), "for preview --ingress"),)
"""Cluster-wide and optional."""


def manifest(namespace: str, user: str, *, whole_cluster: bool = True, intercept: bool = False) -> str:
    """The Roles, optionally the ClusterRole, and their bindings to `user`, as YAML.

    `intercept` adds the Role for exchange, mesh and preview to the one for connect.
    """
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}
    documents = [
        _role("Role", "ktpy", CONNECT + HOST_KEY_CHECK, namespace),
        _binding("RoleBinding", "Role", f"ktpy-{_object_name(user)}", "ktpy", subject, namespace),
    ]
    if intercept:
        name = "ktpy-intercept"
        documents += [
            _role("Role", name, INTERCEPT + INTERCEPT_OPTIONAL, namespace),
            _binding("RoleBinding", "Role", f"{name}-{_object_name(user)}", name, subject, namespace),
        ]
    if whole_cluster:
        view = WHOLE_CLUSTER + (INGRESS_CLASSES if intercept else ())
        documents += [
            _role("ClusterRole", "ktpy-view", view, None),
            _binding(
                "ClusterRoleBinding", "ClusterRole", f"ktpy-view-{_object_name(user)}", "ktpy-view", subject, None
            ),
        ]
    import yaml  # only here: most commands never print a manifest

    return str(yaml.safe_dump_all(documents, sort_keys=False))


def rule_yaml(rule: Rule) -> str:
    """One rule as it stands in the `rules` of a Role."""
    quoted = ", ".join(f'"{verb}"' for verb in rule.verbs)
    return f'- apiGroups: ["{rule.group}"]\n  resources: ["{rule.resource}"]\n  verbs: [{quoted}]'


def _object_name(user: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in user.lower()).strip("-")


def _role(kind: str, name: str, rules: Iterable[Rule], namespace: str | None) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "rules": [rule.document() for rule in rules],
    }


def _binding(
    kind: str, role_kind: str, name: str, role: str, subject: dict[str, str], namespace: str | None
) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
    }


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[3:] not in ([], ["--intercept"]):
        sys.exit("usage: python -m ktpy.cluster.rbac NAMESPACE USER [--intercept]")
    sys.stdout.write(manifest(*sys.argv[1:3], intercept=len(sys.argv) > 3))
