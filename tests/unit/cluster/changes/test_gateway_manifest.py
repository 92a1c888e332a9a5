"""The manifests' promises. That Pod Security `restricted` takes them shows in e2e/test_intercept_namespaces.py."""

import dataclasses
import json
from typing import Any

import pytest

from ktpy.cluster import names
from ktpy.cluster.changes import gateway_manifest
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.service.ports import gateway_ports
from ktpy.wire.gateway import GatewaySpec
from tests.unit.cluster.gateway_cases import KEY, plan, service

PORTS = [
    {"port": 80, "name": "http", "protocol": "TCP", "targetPort": "web", "nodePort": 30080},
    {"port": 7, "name": "echo-udp", "protocol": "UDP", "targetPort": 7},
]


ALICE = SessionIdentity("5e55", "alice@example.org", KEY)


def deployment(target: dict[str, Any], redirecting: dict[str, str] | None = None) -> dict[str, Any]:
    return gateway_manifest.gateway_deployment(plan(), ALICE, gateway_ports(target), "10.96.0.77", redirecting)


@pytest.fixture
def made() -> dict[str, Any]:
    return deployment(service(ports=PORTS))


@pytest.fixture
def container(made: dict[str, Any]) -> dict[str, Any]:
    found, _ = made["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_agent_is_told_what_to_relay(made: dict[str, Any]) -> None:
    annotation = made["spec"]["template"]["metadata"]["annotations"]["ktpy.dev/gateway"]
    assert GatewaySpec.parse(annotation) == gateway_manifest.spec_of(made)
    assert json.loads(annotation) == {
        "version": 1,
        "target": "web",
        "origin": {"host": "10.96.0.77"},
        "ports": [
            {"port": 80, "name": "http", "bind": 8080, "protocol": "TCP", "http": True},
            {"port": 7, "name": "echo-udp", "bind": 7, "protocol": "UDP", "http": False},
        ],
    }


def test_container_ports_bear_the_names_the_service_asks_for(container: dict[str, Any]) -> None:
    assert container["ports"] == [
        {"name": "web", "containerPort": 8080, "protocol": "TCP"},
        {"containerPort": 7, "protocol": "UDP"},
        {"name": "ktpy-ssh", "containerPort": 2222},
    ]


def test_the_agents_own_ports_give_way_to_the_services() -> None:
    taken = service(ports=[{"port": 22, "protocol": "TCP", "targetPort": 2222}])
    container, _ = deployment(taken)["spec"]["template"]["spec"]["containers"]
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "KTPY_SSHD_PORT": "2223",
        "KTPY_READY_PORT": "2224",
    }
    assert container["readinessProbe"]["httpGet"]["port"] == 2224


@pytest.mark.parametrize(("target_port", "sysctls"), [(80, ["net.ipv4.ip_unprivileged_port_start"]), (8080, [])])
def test_low_ports_need_a_sysctl(target_port: int, sysctls: list[str]) -> None:
    made = deployment(service(ports=[{"port": 80, "protocol": "TCP", "targetPort": target_port}]))
    context = made["spec"]["template"]["spec"]["securityContext"]
    assert [one["name"] for one in context.get("sysctls", [])] == sysctls


def test_the_service_selects_the_pods_and_nothing_else_does(made: dict[str, Any]) -> None:
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["ktpy.dev/gateway"] == "web"
    assert "app" not in labels
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_pods_of_a_gateway_made_anew_are_not_those_of_the_old_one(made: dict[str, Any]) -> None:
    assert made["spec"]["selector"]["matchLabels"]["ktpy.dev/session"] == "5e55"


def test_of_our_labels_only_the_name_gives_way() -> None:
    chosen = {"team": "a", "ktpy.dev/gateway": "x", "app.kubernetes.io/name": "y"}
    labels = deployment(service(), chosen)["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= (chosen | {"ktpy.dev/gateway": "web"}).items()


def test_who_made_it_holds_it(made: dict[str, Any]) -> None:
    assert names.holders(made["metadata"]["annotations"]) == {"5e55": "alice@example.org"}


def test_no_rights_and_no_privileges(made: dict[str, Any], container: dict[str, Any]) -> None:
    spec = made["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_origin_leads_where_the_service_led() -> None:
    found = service(
        ports=PORTS, sessionAffinity="ClientIP", publishNotReadyAddresses=True, type="LoadBalancer", ipFamilies=["IPv4"]
    )
    origin = gateway_manifest.origin_service(found, {"app": "web"}, ALICE)
    assert origin["metadata"]["name"] == "web-ktpy-origin"
    assert origin["spec"] == {
        "type": "ClusterIP",
        "selector": {"app": "web"},
        "ports": [{key: value for key, value in port.items() if key != "nodePort"} for port in PORTS],
        "ipFamilies": ["IPv4"],
        "publishNotReadyAddresses": True,
        "sessionAffinity": "ClientIP",
    }


def test_an_origin_that_no_proxy_takes_up_before_it_is_told_to() -> None:
    awaited = gateway_manifest.origin_service(service(), {"app": "web"}, ALICE)
    assert gateway_manifest.proxied(awaited) is None
    early = gateway_manifest.origin_service(service(), {"app": "web"}, ALICE, is_proxied=False)
    assert early["metadata"]["labels"].items() >= awaited["metadata"]["labels"].items()
    seen = {"uid": "u", "resourceVersion": "7"}
    early["metadata"] |= seen
    patch = {**seen, "labels": {"service.kubernetes.io/service-proxy-name": None}}
    assert gateway_manifest.proxied(early) == {"metadata": patch}


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_document_that_is_not_ours(made: dict[str, Any], text: str) -> None:
    made["spec"]["template"]["metadata"]["annotations"]["ktpy.dev/gateway"] = text
    assert gateway_manifest.spec_of(made) is None


def test_it_runs_where_the_original_pods_may_and_as_the_user_wants() -> None:
    gpu, spot = {"key": "gpu", "operator": "Exists"}, {"key": "spot", "operator": "Exists"}
    placement = {"spec": {"nodeSelector": {"zone": "a", "disk": "ssd"}, "tolerations": [gpu]}}
    limited = {"name": "agent", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}, "image": "mirror/agent"}
    overlay = {
        "spec": {
            "nodeSelector": {"zone": "b"},
            "tolerations": [spot],
            "imagePullSecrets": [{"name": "s"}],
            "containers": [limited],
        }
    }
    asked = dataclasses.replace(plan(pod_overlay=overlay), placement=placement)
    made = gateway_manifest.gateway_deployment(asked, ALICE, gateway_ports(service(ports=PORTS)), "10.96.0.77")
    spec = made["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "zone": "b", "disk": "ssd"}
    assert spec["tolerations"] == [gpu, spot]
    assert spec["imagePullSecrets"] == [{"name": "s"}]
    agent, holder = spec["containers"]
    assert holder == {
        "name": "holder",
        "image": "mirror/agent",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", gateway_manifest.HOLD],
        "securityContext": agent["securityContext"],
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "2", "memory": "32Mi"}},
        "volumeMounts": [{"name": "run", "mountPath": "/run/ktpy"}],
    }
