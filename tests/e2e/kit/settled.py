"""Whether everybody in the cluster knows where the shop's Services lead now: pods, EndpointSlices and kube-proxy agree.

A program that asks before that may be led where the Service led a second ago, as any client may.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.e2e.kit.shop import NAMESPACE
from tests.lab import Lab
from tests.lab.processes import wait_until

SETTLED_TIMEOUT_S = 60.0
RULES = ["sh", "-c", "iptables-save -t nat; nft list table ip kube-proxy 2> /dev/null; true"]
LEADS = re.compile(
    rf'-A KUBE-SEP-.* --comment "?{NAMESPACE}/([\w-]+)\S* .* --to-destination ([\d.]+):'
    rf"|chain endpoint-\w+-{NAMESPACE}/([\w-]+)/\w+/[\w-]*__([\d.]+)/"
)

Leads = set[tuple[str, str]]
"""Services, and IPv4 addresses of ready pods behind them."""


def until_settled(lab: Lab) -> None:
    """Raises LabError where somebody still believes something else after a minute."""

    def is_settled() -> bool:
        told = _by_slices(_items(lab, "apis/discovery.k8s.io/v1", "endpointslices"))
        wanted = _by_selectors(_items(lab, "api/v1", "services"), _items(lab, "api/v1", "pods"))
        return wanted <= told == by_rules(lab.node(*RULES))

    wait_until(is_settled, SETTLED_TIMEOUT_S, "kube-proxy to know where services lead")


def by_rules(rules: str) -> Leads:
    """Where kube-proxy leads, by its rules of iptables or nftables."""
    return {(found[1] or found[3], found[2] or found[4]) for found in LEADS.finditer(rules)}


def _items(lab: Lab, group: str, kind: str) -> list[Mapping[str, Any]]:
    return list(lab.api.get(f"/{group}/namespaces/{NAMESPACE}/{kind}")["items"])


def _by_slices(slices: Iterable[Mapping[str, Any]]) -> Leads:
    return {
        (one["metadata"]["labels"]["kubernetes.io/service-name"], address)
        for one in slices
        if one["addressType"] == "IPv4" and "service.kubernetes.io/headless" not in one["metadata"]["labels"]
        for endpoint in one["endpoints"] or ()
        if endpoint["conditions"].get("ready", True)
        for address in endpoint["addresses"]
    }


def _by_selectors(services: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]) -> Leads:
    ready = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and _is_ready(pod)]
    return {
        (service["metadata"]["name"], pod["status"]["podIP"])
        for service in services
        if (selector := service["spec"].get("selector")) and service["spec"]["clusterIP"] != "None"
        for pod in ready
        if selector.items() <= pod["metadata"].get("labels", {}).items()
    }


def _is_ready(pod: Mapping[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
