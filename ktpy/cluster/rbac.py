"""The rights that ktpy needs, as data: one source for the documentation, the hints of errors, and the tests.

`ktpy rbac NAMESPACE [USER] [--intercept]` prints the manifest an administrator applies.
"""

from collections.abc import Iterable

from ktpy.kube.rights import Rule, flow, rule_yaml

_GROUP = "rbac.authorization.k8s.io"


CONNECT = (
    Rule("batch", "jobs", ("create", "get", "patch", "delete"), "the pod ktpy talks through is a Job"),
    Rule("", "pods", ("get", "list", "watch"), "to see that pod start, and addresses of pods"),
    Rule("", "pods/portforward", ("get", "create"), "the tunnel; a WebSocket begins with a GET"),
    Rule("", "services", ("list", "watch"), "names for DNS"),
    Rule("discovery.k8s.io", "endpointslices", ("list", "watch"), "names of headless services for DNS"),
)
"""Without these, in the user's own namespace, `connect` does not work."""

VIA_NODE = (Rule("", "services", ("create",), "for --via node and --allow-direct"),)
"""In the same namespace, and only where it is asked for."""

CONNECT_OPTIONAL = (
    Rule("batch", "jobs", ("list",), "for clean, to see Jobs of killed sessions"),
    Rule("", "events", ("list", "watch"), "to say why the pod does not start"),
    Rule("", "pods/log", ("get",), "to compare the SSH host key with the one the pod printed"),
    Rule("networking.k8s.io", "networkpolicies", ("list",), "to warn of policies that would keep traffic off"),
)
"""In the same namespace; each is for what it says only."""

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
"""For `exchange`, `mesh`, `tap`, `preview`, `leave`, `list`, `clean` and `recover`, in the namespace of the service."""

LOOK = tuple(
    Rule(group, resource, ("list",))
    for group, resource in (
        ("", "services"),
        ("apps", "deployments"),
        ("", "pods"),
        ("coordination.k8s.io", "leases"),
    )
)
"""What `list` and `clean --dry-run` need of these."""

WHO = tuple(
    Rule(group, resource, ("list",))
    for group, resource in (("coordination.k8s.io", "leases"), ("apps", "deployments"), ("batch", "jobs"))
)
"""What `who` needs: of what is missing it tells, and shows the rest."""

RUN = tuple(
    Rule(group, resource, ("get",), f"to read the pod template of {kind}/NAME, or of a bare NAME")
    for group, resource, kind in (
        ("apps", "deployments", "deployment"),
        ("apps", "statefulsets", "statefulset"),
        ("apps", "daemonsets", "daemonset"),
        ("apps", "replicasets", "replicaset"),
        ("batch", "cronjobs", "cronjob"),
    )
)
"""What `env` and `run` need of a workload beside CONNECT. Secrets and ConfigMaps are read by the kubelet."""

RUN_OPTIONAL = (
    Rule("", "persistentvolumeclaims", ("get",), "to know whether a claim can be used by several pods"),
    Rule("apps", "deployments", ("list",), "to find a service's workload that has no pods, and to tell what there is"),
    Rule("apps", "statefulsets", ("list",), "the same"),
    Rule("apps", "daemonsets", ("list",), "the same"),
    Rule("batch", "cronjobs", ("list",), "the same"),
)
"""In the same namespace; each is for what it says only."""

FROM_POD = (Rule("", "pods/exec", ("get", "create"), "for --from-pod; a WebSocket begins with a GET"),)
"""In the same namespace, and only where it is asked for: who may exec may do what the pods may."""

_SWITCHED = "to switch the original off and on; `get` alone for --mode duplicate"
DEV = (
    Rule(
        "apps", "deployments", ("get", "list", "watch", "create", "patch", "delete"), "the dev pod's, and the original"
    ),
    *(
        Rule(group, resource, ("get", "patch"), _SWITCHED)
        for group, resource in (
            ("apps", "statefulsets"),
            ("apps", "daemonsets"),
            ("apps", "replicasets"),
            ("batch", "cronjobs"),
        )
    ),
    Rule("batch", "jobs", ("get",), "to copy a Job's pod template"),
    Rule("", "pods", ("get", "list", "watch", "patch"), "to see the dev pod, and to let a terminal's key in"),
    Rule("", "pods/portforward", ("get", "create"), "the tunnel; a WebSocket begins with a GET"),
    Rule(
        "coordination.k8s.io",
        "leases",
        ("get", "list", "create", "patch", "delete"),
        "by which others see that a session is alive",
    ),
)
"""For `dev`, in the namespace of the workload."""

DEV_VOLUMES = (
    Rule(
        "",
        "persistentvolumeclaims",
        ("get", "list", "create", "delete"),
        "for --persist and `dev volumes`; `get` to know whether a claim can be used by several pods",
    ),
)

DEV_OPTIONAL = (
    Rule("", "pods/log", ("get",), "to compare the SSH host key with the one the pod printed"),
    *DEV_VOLUMES,
)
"""In the same namespace; each is for what it says only."""

INGRESSES = Rule("networking.k8s.io", "ingresses", ("get", "list", "create", "delete"), "for preview --ingress")
HTTP_ROUTES = Rule(
    "gateway.networking.k8s.io", "httproutes", ("get", "list", "create", "delete"), "for preview --gateway-route"
)

INTERCEPT_OPTIONAL = (
    Rule("apps", "statefulsets", ("get",), "to find the service of statefulset/NAME"),
    Rule("apps", "daemonsets", ("get",), "to find the service of daemonset/NAME"),
    Rule("apps", "replicasets", ("get",), "to find the service of replicaset/NAME"),
    Rule("batch", "jobs", ("get",), "to find the service of job/NAME"),
    Rule("batch", "cronjobs", ("get",), "to find the service of cronjob/NAME"),
    Rule("networking.k8s.io", "networkpolicies", ("list",), "to warn of policies that would keep traffic off"),
    INGRESSES,
    HTTP_ROUTES,
    Rule("", "namespaces", ("get",), "the same, where a Gateway takes routes from namespaces by their labels"),
)
"""In the same namespace; each is for what it says only."""

MOVE_CLIENTS = (Rule("", "pods/eviction", ("create",), "for --move-clients"),)
"""In the same namespace, and only where it is asked for: who may evict may disturb what others run."""

WAYS_IN = (
    Rule("networking.k8s.io", "ingressclasses", ("list",), "for preview --ingress"),
    Rule("gateway.networking.k8s.io", "gateways", ("list",), "for preview --gateway-route"),
)
"""Cluster-wide and optional."""


def manifest(
    namespace: str,
    user: str,
    *,
    whole_cluster: bool = True,
    via_node: bool = False,
    intercept: bool = False,
    move_clients: bool = False,
    run: bool = False,
    from_pod: bool = False,
    dev: bool = False,
) -> str:
    """Write the Roles, optionally the ClusterRole, and their bindings to `user`, as YAML.

    `via_node` adds the right to create Services to the Role for connect. `intercept` adds the Role for exchange, mesh
    and preview, `move_clients` the right to evict pods to that. `run` adds the Role for `env`, and for `run` with a
    workload, `from_pod` the right to exec to that; `dev` that for `dev`.
    """
    documents = [
        _role("Role", "ktpy", CONNECT + CONNECT_OPTIONAL + (VIA_NODE if via_node else ()), namespace),
        _binding("RoleBinding", "Role", "ktpy", user, namespace),
    ]
    if intercept:
        documents += [
            _role(
                "Role",
                "ktpy-intercept",
                INTERCEPT + INTERCEPT_OPTIONAL + (MOVE_CLIENTS if move_clients else ()),
                namespace,
            ),
            _binding("RoleBinding", "Role", "ktpy-intercept", user, namespace),
        ]
    if run:
        documents += [
            _role("Role", "ktpy-run", RUN + RUN_OPTIONAL + (FROM_POD if from_pod else ()), namespace),
            _binding("RoleBinding", "Role", "ktpy-run", user, namespace),
        ]
    if dev:
        documents += [
            _role("Role", "ktpy-dev", DEV + DEV_OPTIONAL, namespace),
            _binding("RoleBinding", "Role", "ktpy-dev", user, namespace),
        ]
    if whole_cluster:
        view = WHOLE_CLUSTER + (WAYS_IN if intercept else ())
        documents += [
            _role("ClusterRole", "ktpy-view", view, None),
            _binding("ClusterRoleBinding", "ClusterRole", "ktpy-view", user, None),
        ]
    return "---\n".join(documents)


def _object_name(user: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in user.lower()).strip("-")


def _role(kind: str, name: str, rules: Iterable[Rule], namespace: str | None) -> str:
    lines = [*_head(kind, name, namespace), "rules:"]
    for rule in rules:
        lines += [f"# {rule.why}", rule_yaml(rule)]
    return "".join(f"{line}\n" for line in lines)


def _binding(kind: str, role_kind: str, role: str, user: str, namespace: str | None) -> str:
    lines = [
        *_head(kind, f"{role}-{_object_name(user)}", namespace),
        flow("roleRef: ", {"apiGroup": _GROUP, "kind": role_kind, "name": role}),
        "subjects:",
        flow("- ", {"apiGroup": _GROUP, "kind": "User", "name": user}),
    ]
    return "".join(f"{line}\n" for line in lines)


def _head(kind: str, name: str, namespace: str | None) -> list[str]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return [f"apiVersion: {_GROUP}/v1", f"kind: {kind}", flow("metadata: ", metadata)]
