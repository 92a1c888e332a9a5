"""Judges whether NetworkPolicies may block the traffic of a gateway, or of a shadow pod.

A pod that any policy selects for a direction has only the traffic that some such policy admits
(https://kubernetes.io/docs/concepts/services-networking/network-policies/). Of ports it is seen only whether a rule is
for DNS alone, and policies of a network plugin's own kinds are not looked at, so the result is a warning and never a
refusal.
"""

from collections.abc import Iterable, Mapping

from ktpy.cluster.names import APP_NAME, GATEWAY
from ktpy.cluster.service.service_state import redirecting_labels
from ktpy.cluster.service.targets import selects
from ktpy.errors import Forbidden, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, labels_of, name_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import NETWORK_POLICIES, SERVICES
from ktpy.kube.watch import list_all

Labels = Mapping[str, str]
NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""A label that the API server gives each namespace. What others one has is not read."""
DNS_PORT = 53


async def all_policies(api: Api) -> list[Json]:
    """Return the policies of the namespace; none where they may not be read."""
    return await _listable(api, NETWORK_POLICIES.path(api.namespace))


def warnings_for(
    policies: list[Json], target: str, selector: Labels, pod_labels: Labels, pod: Json | None
) -> list[str]:
    """Warn of policies that may block the gateway of `target`; `pod` is one of its original pods, if there is any."""
    # Pods know labels the Service does not select by, and policies may use those: one pod of the Service tells them.
    gateway = gateway_labels(target, selector, pod_labels)
    return judge(target, policies, gateway, selector if pod is None else labels_of(pod))


def gateway_labels(target: str, selector: Labels, pod_labels: Labels) -> dict[str, str]:
    """Return the labels of the gateway's pods that a policy may select by."""
    return {**redirecting_labels(target, selector), **pod_labels, GATEWAY: target}


def judge(target: str, policies: Iterable[Json], gateway: Labels, original: Labels) -> list[str]:
    """Return one warning for each stretch of the way that policies may block."""
    policies = list(policies)
    hint = "--gateway-label k=v gives the gateway's pods a label that the policy admits."
    found = []
    if blocking := _blocking(policies, "Ingress", gateway, None):
        found.append(f"{_named(blocking)} may keep clients from the gateway of {target}; {hint}")
    if blocking := _blocking(policies, "Egress", gateway, original):
        found.append(f"{_named(blocking)} may keep the gateway of {target} from the original pods; {hint}")
    if blocking := _blocking(policies, "Ingress", original, gateway):
        found.append(f"{_named(blocking)} may not let the gateway in to the original pods of {target}; {hint}")
    return found


async def warnings_for_shadow(api: Api, shadow: Labels) -> list[str]:
    """Warn of policies that may block what a shadow pod with these labels dials: all it does, or its own namespace."""
    policies = await all_policies(api)
    label = f"{APP_NAME}={shadow.get(APP_NAME)}"
    found = []
    if blocking := _blocking(policies, "Egress", shadow, None):
        found.append(f"{_named(blocking)} may keep ktpy's pod from the cluster, unless it admits the label {label}.")
    if closing := _closing(policies, shadow):
        every = "all " if any(_selector(policy) == {} for policy in closing) else ""
        where = f"{every}pods of namespace {api.namespace}"
        found.append(f"{_named(closing)} may keep ktpy's pod from {where}, unless it admits the label {label}.")
    return found


def _closing(policies: list[Json], peer: Labels) -> list[Json]:
    """Return the policies that keep a pod with these labels out of some pods, as none for the same pods admits it."""
    isolating = [policy for policy in policies if "Ingress" in _directions(policy["spec"])]
    return [
        policy
        for policy in isolating
        if not any(_lets(other, "Ingress", peer) for other in isolating if _selector(other) in ({}, _selector(policy)))
    ]


async def refuse_labels(api: Api, target: str, selector: Labels, pod_labels: Labels) -> None:
    """Raise TargetUnsuitable when `--gateway-label` would make the gateway a pod of some other Service, or its own."""
    if not pod_labels:
        return
    labels = gateway_labels(target, selector, pod_labels)
    for service in await _listable(api, SERVICES.path(api.namespace)):
        if selects(service, labels):
            name = name_of(service)
            given, selected = (
                ",".join(f"{key}={value}" for key, value in labels.items())
                for labels in (pod_labels, service["spec"].get("selector") or {})
            )
            raise TargetUnsuitable(
                f"With --gateway-label {given}, service {name} would send its own traffic to the gateway.",
                hint=f"Choose a label that no service selects; {name} selects {selected}.",
            )


def matches(selector: Json, labels: Labels) -> bool:
    """Whether all matchLabels and matchExpressions of a label selector hold; an empty one matches everything."""
    wanted: dict[str, str] = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions") or []
    )


def _holds(expression: Json, labels: Labels) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _blocking(policies: list[Json], direction: str, pod: Labels, peer: Labels | None) -> list[Json]:
    """Return the policies that isolate `pod` in one direction, if none of them admits `peer`; None is anybody."""
    isolating = [
        policy for policy in policies if direction in _directions(policy["spec"]) and matches(_selector(policy), pod)
    ]
    return [] if any(_lets(policy, direction, peer) for policy in isolating) else isolating


def _selector(policy: Json) -> Json:
    return policy["spec"].get("podSelector") or {}


def _directions(spec: Json) -> list[str]:
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _lets(policy: Json, direction: str, peer: Labels | None) -> bool:
    """Whether a rule of this policy admits a pod of the policy's own namespace; None is anybody, on any port."""
    home = {NAMESPACE_NAME: policy["metadata"].get("namespace", "")}
    for rule in policy["spec"].get(direction.lower()) or []:
        ports = rule.get("ports") or []
        if ports and ((peer is None and direction == "Egress") or all(port.get("port") == DNS_PORT for port in ports)):
            continue
        peers = rule.get("from" if direction == "Ingress" else "to")
        if not peers or any(_is_meant(one, peer, home) for one in peers):
            return True
    return False


def _is_meant(one: Json, peer: Labels | None, home: Labels) -> bool:
    """Whether a rule's peer is a pod with these labels in a namespace with those of `home`; None is anybody."""
    if block := one.get("ipBlock"):
        return block.get("cidr") in ("0.0.0.0/0", "::/0") and not block.get("except")
    pods, namespaces = one.get("podSelector") or {}, one.get("namespaceSelector")
    if peer is None:  # some are admitted otherwise; which ones the original pods admitted is not known either
        return namespaces == {} and pods == {}
    return matches(pods, peer) and (namespaces is None or matches(namespaces, home))


def _named(policies: list[Json]) -> str:
    names = ", ".join(sorted(map(name_of, policies)))
    return f"NetworkPolicy {names}" if len(policies) == 1 else f"NetworkPolicies {names}"


async def _listable(api: Api, path: str) -> list[Json]:
    """All objects under `path`; none where they may not be listed, or do not exist in this cluster."""
    try:
        return [item async for item in list_all(api, path)]
    except (Forbidden, NotFound):
        return []
