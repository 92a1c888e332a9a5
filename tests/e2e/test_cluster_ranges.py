"""Discovery on a real cluster, as users with more and fewer rights; and a watch that outlives its API server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from ktpy.cluster import rbac
from ktpy.cluster.routing.networks import subtract
from tests.e2e.test_cluster_shadow import applied, probe
from tests.lab import Lab
from tests.lab.layout import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE = "shop"
USER = "dave@example.org"


@pytest.fixture(scope="module")
def kubeconfig(lab: Lab) -> Path:
    return lab.kubeconfig(USER)


def found(lab: Lab, kind: str, kubeconfig: Path | None = None) -> tuple[set[str], str]:
    """Networks and source of a kind of range."""
    told = probe(lab, "--namespace", NAMESPACE, "ranges", kubeconfig=kubeconfig)
    rows = [line for line in told if line["kind"] == kind]
    return {row["network"] for row in rows}, rows[0]["source"] if rows else ""


def role(*rules: rbac.Rule) -> list[dict[str, Any]]:
    documents = list(yaml.safe_load_all(rbac.manifest(NAMESPACE, USER, whole_cluster=False)))
    return [documents[0] | {"rules": [rule.document() for rule in (*rbac.CONNECT, *rules)]}, documents[1]]


def configured_service_ranges(lab: Lab) -> set[str]:
    [servicecidr] = lab.api.get("/apis/networking.k8s.io/v1/servicecidrs")["items"]
    return set(servicecidr["spec"]["cidrs"])


def test_an_admin_sees_the_configured_service_ranges(lab: Lab) -> None:
    assert found(lab, "services") == (configured_service_ranges(lab), "the ServiceCIDR API")


def test_who_may_create_services_is_told_the_ranges_by_a_dry_run(lab: Lab, kubeconfig: Path) -> None:
    before = lab.kubectl("-n", NAMESPACE, "get", "services", "-o", "name")
    with applied(lab, *role(rbac.Rule("", "services", ("create",)))):
        networks, source = found(lab, "services", kubeconfig)
    assert (networks, "invalid Service" in source) == (configured_service_ranges(lab), True)
    assert lab.kubectl("-n", NAMESPACE, "get", "services", "-o", "name") == before


def test_with_the_documented_role_the_namespaces_services_and_pods_are_covered(lab: Lab, kubeconfig: Path) -> None:
    with applied(lab, *role()):
        services, source = found(lab, "services", kubeconfig)
        pods, _ = found(lab, "pods", kubeconfig)
    assert f"namespace {NAMESPACE}" in source
    configured = map(ip_network, configured_service_ranges(lab))
    assert subtract(map(ip_network, services), configured) == []  # never wider than the truth
    for shown, ranges in ((service_addresses(lab), services), (pod_addresses(lab), pods)):
        assert shown
        for address in shown:
            assert any(ip_address(address) in ip_network(text) for text in ranges), address


def service_addresses(lab: Lab) -> list[str]:
    items = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/services")["items"]
    return [text for item in items for text in item["spec"].get("clusterIPs") or [] if text != "None"]


def pod_addresses(lab: Lab) -> list[str]:
    items = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    running = [item for item in items if item["status"]["phase"] == "Running"]
    return [entry["ip"] for item in running for entry in item["status"]["podIPs"]]


@pytest.fixture
def watching(lab: Lab) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.e2e.cluster_probe", "watch", f"/api/v1/namespaces/{NAMESPACE}/configmaps"]
    process = lab.popen(command, env={"PYTHONPATH": str(REPOSITORY)})
    yield process
    process.kill()
    process.communicate(timeout=10)


def test_a_watch_outlives_a_restart_of_the_api_server(lab: Lab, watching: "subprocess.Popen[str]") -> None:
    assert watching.stdout is not None
    for line in watching.stdout:
        if json.loads(line)["event"] == "Synced":
            break
    lab.restart_api()
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "after", "namespace": NAMESPACE}}
    with applied(lab, config_map):
        for line in watching.stdout:
            if json.loads(line) == {"event": "Upsert", "name": "after"}:
                return
    pytest.fail("the watch ended")
