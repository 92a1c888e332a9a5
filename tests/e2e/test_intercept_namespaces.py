"""Namespaces with rules of their own, and the names one may give: what works, what is refused, and in which words."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import workloads
from tests.e2e.kit.failed_command import Attempt, attempt
from tests.e2e.kit.shop import Shop
from tests.e2e.kit.target_service import PROBE_TIMEOUT_S, until_reached
from tests.e2e.kit.workloads import Manifest, container
from tests.lab import Lab
from tests.lab.layout import REPOSITORY
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import Intercept
from tests.lab.sessions.local_server import serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

RESTRICTED, BASELINE, DENYING, NARROW = "rules-restricted", "rules-baseline", "rules-denying", "rules-narrow"
LOCAL = 3001
EXPOSED = ("--expose", f"{LOCAL}:80")
LONG = "a-service-whose-name-is-as-long-as-a-label-may-be-" + "x" * 13
"""63 characters: no suffix fits behind it."""
LIMITS = {"limits": [{"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "2", "memory": "1Gi"}}]}
QUOTA = {"hard": {"limits.cpu": "8", "limits.memory": "8Gi", "requests.cpu": "4", "pods": "10", "services": "9"}}
OPEN = {"matchLabels": {"net": "open"}}
POLICIES: dict[str, Manifest] = {
    "deny": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    "open": {"podSelector": OPEN, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]},
    "to-web": {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [{"podSelector": OPEN}]}]},
}
"""Nothing may pass but by pods labelled `net: open`. The lab's network enforces no policies: words are judged."""


def labelled(level: str) -> dict[str, str]:
    return {"pod-security.kubernetes.io/enforce": level}


def web(*services: str) -> list[Manifest]:
    """Pods that listen on a privileged port, so that their gateways have to, and services that lead to them."""
    server = container("web", "python3", "/code/server.py", "http", "web", ports={"web": 8080})
    low = container("low", "socat", "TCP-LISTEN:80,fork,reuseaddr", "TCP:127.0.0.1:8080", ports={"http": 80})
    port = {"name": "http", "port": 80, "targetPort": 80}
    return [
        workloads.code("server", server=REPOSITORY / "tests/demo/server.py"),
        workloads.deployment("web", server, low, code="server"),
        *(workloads.service(name, port, app="web") for name in services),
    ]


def rule(kind: str, name: str, spec: Manifest, api: str = "v1") -> Manifest:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


# --- what works


@pytest.fixture(scope="module")
def pod(lab: Lab) -> Iterator[Path]:
    """A client's pod, when all these namespaces are there."""
    limited = [rule("LimitRange", "usual", LIMITS), rule("ResourceQuota", "roomy", QUOTA)]
    policies = [rule("NetworkPolicy", name, spec, "networking.k8s.io/v1") for name, spec in POLICIES.items()]
    with ExitStack() as namespaces:
        for name, level, objects in (
            (RESTRICTED, "restricted", [*web("web", LONG), workloads.client()]),
            (BASELINE, "baseline", [*limited, *web("web")]),
            (DENYING, "restricted", [*policies, *web("web", "till")]),
        ):
            namespaces.enter_context(workloads.namespace(lab, name, *objects, labels=labelled(level)))
        yield workloads.netns(lab, RESTRICTED)


@dataclass(frozen=True, slots=True)
class Case:
    """An exchange that should work. Each takes as long as its gateway needs to come and go: they all do at once."""

    namespace: str
    service: str
    target: str = ""
    options: tuple[str, ...] = ()


CASES = {
    "Pod Security restricted": Case(RESTRICTED, "web"),
    "a name of 63 characters": Case(RESTRICTED, LONG),
    "Pod Security baseline, LimitRange, ResourceQuota": Case(BASELINE, "web", target="pod/{pod}"),
    "NetworkPolicy": Case(DENYING, "web"),
    "NetworkPolicy that admits the label": Case(DENYING, "till", options=("--gateway-label", "net=open")),
}


def service(lab: Lab, case: Case) -> dict[str, Any]:
    return dict(lab.api.get(f"/api/v1/namespaces/{case.namespace}/services/{case.service}")["spec"])


@pytest.fixture(scope="module")
def exchanges(lab: Lab, pod: Path) -> Iterator[dict[str, Intercept]]:
    before = {name: service(lab, case) for name, case in CASES.items()}
    started = {}
    with serving(lab, LOCAL):
        for name, case in CASES.items():
            [pod_name] = Shop(lab.api, case.namespace).pods("web")
            target = case.target.format(pod=pod_name) or case.service
            options = ("--namespace", case.namespace, *EXPOSED, *case.options)
            started[name] = Intercept(lab, "exchange", target, *options)
        try:
            for one in started.values():
                one.wait_ready()
            yield started
        finally:
            for one in started.values():
                one.process.send_signal(signal.SIGINT)
            ends = {name: one.wait_ended() for name, one in started.items()}
    assert ends == dict.fromkeys(CASES, 0)
    assert {name: service(lab, case) for name, case in CASES.items()} == before


@pytest.mark.parametrize("name", CASES)
def test_requests_reach_the_laptop(lab: Lab, exchanges: dict[str, Intercept], pod: Path, name: str) -> None:
    host = service(lab, CASES[name])["clusterIP"]
    until_reached(lambda: ask(pod, host, timeout_s=PROBE_TIMEOUT_S)[1].split()[0], "local")


def test_what_a_namespace_gives_its_pods_the_gateway_has(lab: Lab, exchanges: dict[str, Intercept]) -> None:
    """Without the LimitRange's limit of CPU, the quota would refuse it."""
    [gateway] = lab.api.get(f"/api/v1/namespaces/{BASELINE}/pods?labelSelector=ktpy.dev/gateway%3Dweb")["items"]
    assert gateway["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "832Mi"}


def test_policies_are_told_of_before_anything_changes(exchanges: dict[str, Intercept]) -> None:
    told = [line for line in exchanges["NetworkPolicy"].notices().splitlines() if line.startswith("NetworkPolic")]
    hint = "--gateway-label k=v gives the gateway's pods a label that the policy admits."
    assert told == [
        f"NetworkPolicy deny may keep clients from the gateway of web; {hint}",
        f"NetworkPolicy deny may keep the gateway of web from the original pods; {hint}",
        f"NetworkPolicies deny, to-web may not let the gateway in to the original pods of web; {hint}",
    ]
    events = [json.loads(line) for line in exchanges["NetworkPolicy"].output.splitlines()]
    [last_notice, *_] = [number for number, event in enumerate(events) if event["kind"] == "notice"][::-1]
    [first_change, *_] = [number for number, event in enumerate(events) if event.get("name") == "gateway"]
    assert last_notice < first_change


def test_nothing_is_told_of_policies_that_admit_the_gateway(exchanges: dict[str, Intercept]) -> None:
    assert "NetworkPolic" not in exchanges["NetworkPolicy that admits the label"].notices()


# --- what is refused


@pytest.fixture(scope="module")
def narrow(lab: Lab) -> Iterator[str]:
    """A namespace where rules come and go. Two services lead to its pods."""
    with workloads.namespace(lab, NARROW, *web("web", "also"), workloads.client()) as name:
        yield name


@contextmanager
def ruled(lab: Lab, namespace: str, kind: str, spec: Manifest) -> Iterator[None]:
    manifest = json.dumps(rule(kind, "narrow", spec))
    lab.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)
    try:
        if kind == "ResourceQuota":
            workloads.until_counted(lab, namespace, "narrow")
        yield
    finally:
        lab.kubectl("-n", namespace, "delete", "-f", "-", stdin=manifest)


def refused(lab: Lab, namespace: str, target: str, *options: str) -> Attempt:
    """An exchange that ends with a sentence and leaves nothing behind."""
    told = attempt(lab, command=["ktpy", "exchange", target, "--namespace", namespace, *EXPOSED, *options])
    mine = ("-l", "app.kubernetes.io/managed-by=ktpy", "-o", "name")
    assert lab.kubectl("-n", namespace, "get", "services,deployments,leases", *mine) == ""
    assert service(lab, Case(namespace, "web"))["selector"] == {"app": "web"}
    return told


TIGHT = {
    "limits": [
        {"type": "Container", "max": {"memory": "100Mi"}, "min": {"cpu": "100m"}},
        {"type": "Pod", "maxLimitRequestRatio": {"memory": "2"}},
    ]
}


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("LimitRange", TIGHT, "maximum memory usage per Container is 100Mi, but limit is 832Mi"),
        ("ResourceQuota", {"hard": {"pods": "2"}}, "exceeded quota: narrow, requested: pods=1, used: pods=2"),
        ("ResourceQuota", {"hard": {"services": "2"}}, "exceeded quota: narrow, requested: services=1"),
        ("ResourceQuota", {"hard": {"limits.cpu": "4"}}, "failed quota: narrow: must specify limits.cpu for: agent"),
    ],
)
def test_a_gateway_for_which_there_is_no_room(
    lab: Lab, narrow: str, kind: str, spec: dict[str, Any], words: str
) -> None:
    with ruled(lab, narrow, kind, spec):
        told = refused(lab, narrow, "web")
    assert (told.exit_code, words in told.message) == (22, True), told
    assert "--pod-overlay FILE" in told.hint
    assert told.hint.endswith("See: kubectl describe resourcequota,limitrange")


def test_a_label_that_would_bring_the_gateway_its_own_traffic(lab: Lab, narrow: str) -> None:
    told = refused(lab, narrow, "web", "--gateway-label", "app=web")
    assert (told.exit_code, told.message) == (
        52,
        "With --gateway-label app=web, service also would send its own traffic to the gateway.",
    )


def test_a_preview_of_more_than_63_characters(lab: Lab, narrow: str) -> None:
    told = attempt(lab, command=["ktpy", "preview", LONG + "x", "-n", narrow, *EXPOSED])
    assert told.exit_code == 52
    assert told.message.startswith(f"'{LONG}x' cannot be the name of a service: ")
    assert re.search("must be no more than 63 (bytes|characters)", told.message)  # since 1.36, and before


@pytest.mark.parametrize("kind", ["pod", "deployment"])
def test_of_several_services_one_has_to_be_named(lab: Lab, narrow: str, kind: str) -> None:
    [pod] = Shop(lab.api, narrow).pods("web")
    target = f"pod/{pod}" if kind == "pod" else "deployment/web"
    told = refused(lab, narrow, target)
    assert (told.exit_code, told.message) == (51, f"2 services lead to {target}: also, web.")
    assert told.hint == "Name one of them instead."


@pytest.mark.parametrize("target", ["deployment/client", "pod/none"])
def test_what_no_service_leads_to(lab: Lab, narrow: str, target: str) -> None:
    assert refused(lab, narrow, target).exit_code == 50
