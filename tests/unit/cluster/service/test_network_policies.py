from typing import Any

import pytest

from ktpy.cluster.service import network_policies, targets
from ktpy.cluster.service.network_policies import judge, matches
from ktpy.errors import TargetUnsuitable
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import furnish, gateway, service
from tests.unit.kube.object_store import SERVICES, ObjectStore

GATEWAY = {"ktpy.dev/gateway": "web", "team": "a"}
SELECTOR = {"app": "web"}
ORIGINAL = {"app": "web"}
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"


def policy(selector: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    chosen = {"matchLabels": selector} if selector else {}
    return {"metadata": {"name": "deny", "namespace": "shop"}, "spec": {"podSelector": chosen, **spec}}


def admitting(*peers: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"from": list(peers)}]


def told(*policies: dict[str, Any]) -> list[str]:
    words = ("clients from the gateway", "from the original pods", "in to the original pods")
    found = judge("web", policies, GATEWAY, ORIGINAL)
    return [next(one for one in words if one in warning) for warning in found]


def test_none() -> None:
    assert told() == []


def test_default_deny_of_ingress() -> None:
    assert told(policy(policyTypes=["Ingress"])) == ["clients from the gateway", "in to the original pods"]


def test_default_deny_of_both() -> None:
    assert len(told(policy(policyTypes=["Ingress", "Egress"]))) == 3


def test_the_warning_names_policy_and_remedy() -> None:
    [first, _] = judge("web", [policy()], GATEWAY, ORIGINAL)
    assert first.startswith("NetworkPolicy deny may keep clients")
    assert "--gateway-label" in first


def test_a_policy_for_other_pods() -> None:
    assert told(policy({"app": "db"}, policyTypes=["Ingress", "Egress"])) == []


def test_original_pods_that_admit_only_their_clients() -> None:
    only_front = admitting({"podSelector": {"matchLabels": {"app": "front"}}})
    assert told(policy(ORIGINAL, ingress=only_front)) == ["in to the original pods"]


@pytest.mark.parametrize(
    "peer",
    [
        {"podSelector": {"matchLabels": {"team": "a"}}},
        {"podSelector": {}},
        {"namespaceSelector": {}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}},
        {"ipBlock": {"cidr": "0.0.0.0/0"}},
    ],
)
def test_original_pods_that_admit_the_gateway(peer: dict[str, Any]) -> None:
    assert told(policy(ORIGINAL, ingress=admitting(peer))) == []


@pytest.mark.parametrize(
    "peer",
    [
        {"ipBlock": {"cidr": "10.0.0.0/8"}},
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}},
        {"namespaceSelector": {"matchLabels": {"n": "x"}}},
        {"namespaceSelector": {"matchLabels": {"n": "x"}}, "podSelector": {}},
    ],
)
def test_peers_that_are_not_the_gateway(peer: dict[str, Any]) -> None:
    assert told(policy(ORIGINAL, ingress=admitting(peer))) == ["in to the original pods"]


def test_a_rule_without_peers_admits_everybody() -> None:
    assert told(policy(ingress=[{}])) == []


def test_one_policy_that_admits_is_enough() -> None:
    assert told(policy(ORIGINAL), policy(ORIGINAL, ingress=[{}])) == []


@pytest.mark.parametrize(
    ("expression", "does_match"),
    [
        ({"key": "app", "operator": "In", "values": ["web"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["web"]}, False),
        ({"key": "tier", "operator": "NotIn", "values": ["web"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
    ],
)
def test_match_expressions(expression: dict[str, Any], does_match: bool) -> None:
    assert matches({"matchExpressions": [expression]}, ORIGINAL) is does_match


async def test_labels_of_the_pods_that_run_count(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    store.put(POLICIES, policy(ORIGINAL))
    original = await targets.one_pod(store_api, {"app": "web"})
    policies = await network_policies.all_policies(store_api)
    [warning] = network_policies.warnings_for(policies, "web", {"app": "web"}, {}, original)
    assert "may not let the gateway in" in warning


async def test_who_may_not_read_policies_is_told_nothing(store: ObjectStore, store_api: Api) -> None:
    store.put(POLICIES, policy())
    store.forbidden.add("list networkpolicies")
    assert await network_policies.all_policies(store_api) == []


async def test_a_label_that_a_service_selects_is_refused(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    store.put(SERVICES, service("front"))
    with pytest.raises(TargetUnsuitable, match="service front would send its own traffic to the gateway"):
        await network_policies.refuse_labels(store_api, "web", SELECTOR, {"app": "front"})
    with pytest.raises(TargetUnsuitable, match="service web would"):
        await network_policies.refuse_labels(store_api, "web", SELECTOR, {"app": "web"})
    await network_policies.refuse_labels(store_api, "web", SELECTOR, {"team": "a"})


async def test_also_while_the_service_is_intercepted(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    await gateway(store_api, "a").enter()
    with pytest.raises(TargetUnsuitable):
        await network_policies.refuse_labels(store_api, "web", SELECTOR, {"app": "web"})
    await network_policies.refuse_labels(store_api, "web", SELECTOR, {"team": "a"})


SHADOW = {"app.kubernetes.io/name": "ktpy-shadow"}
TO_ALL = "keep ktpy's pod from the cluster"
TO_PODS = "keep ktpy's pod from all pods of namespace shop"
TO_SOME = "keep ktpy's pod from pods of namespace shop"
ALL_PODS: dict[str, Any] = {"namespaceSelector": {}}


@pytest.mark.parametrize(
    ("found", "warnings"),
    [
        (policy(policyTypes=["Ingress"]), [TO_PODS]),
        (policy(policyTypes=["Ingress", "Egress"]), [TO_ALL, TO_PODS]),
        (policy(SHADOW, policyTypes=["Egress"]), [TO_ALL]),
        (policy(ingress=admitting({"podSelector": {"matchLabels": SHADOW}})), []),
        (policy(ingress=[{}], egress=[{}], policyTypes=["Ingress", "Egress"]), []),
        (policy({"app": "db"}, policyTypes=["Ingress", "Egress"]), [TO_SOME]),
        (policy({"app": "db"}, ingress=admitting({"podSelector": {}})), []),
        (policy(egress=[{"ports": [{"port": 53, "protocol": "UDP"}]}], policyTypes=["Egress"]), [TO_ALL]),
        (policy(egress=[{"to": [ALL_PODS], "ports": [{"port": 443}]}], policyTypes=["Egress"]), [TO_ALL]),
        (policy(egress=[{"to": [ALL_PODS]}], policyTypes=["Egress"]), []),
    ],
)
async def test_what_may_keep_a_shadow_pod_off(
    store: ObjectStore, store_api: Api, found: dict[str, Any], warnings: list[str]
) -> None:
    store.put(POLICIES, found)
    told = await network_policies.warnings_for_shadow(store_api, SHADOW)
    assert [next(words for words in (TO_ALL, TO_PODS, TO_SOME) if words in one) for one in told] == warnings
    assert all("app.kubernetes.io/name=ktpy-shadow" in one for one in told)


async def test_pods_that_one_policy_closes_another_may_open(store: ObjectStore, store_api: Api) -> None:
    closed = policy({"app": "db"})
    opened = policy({"app": "db"}, ingress=admitting({"podSelector": {}}))
    for name, found in {"closed": closed, "opened": opened}.items():
        store.put(POLICIES, {**found, "metadata": {"name": name, "namespace": "shop"}})
    assert await network_policies.warnings_for_shadow(store_api, SHADOW) == []


async def test_who_may_not_see_policies_is_not_warned(store: ObjectStore, store_api: Api) -> None:
    store.put(POLICIES, policy())
    store.forbidden.add("list networkpolicies")
    assert await network_policies.warnings_for_shadow(store_api, SHADOW) == []
