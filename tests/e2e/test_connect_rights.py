"""A user who is no administrator: connected with exactly the rights that docs/team.md asks for.

He types `sudo ktpy connect`, with a kubeconfig of his own.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.cluster import rbac
from ktpy.cluster.routing.ranges import BY_SERVICE_CIDR
from ktpy.kube.rights import Rule
from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.faults import kill_in_pod
from tests.e2e.kit.laptop import Laptop, is_echoed
from tests.e2e.kit.rights import asked_for, granted, role
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.lab import Lab
from tests.lab.layout import CLUSTER_DNS_IPV4, POD_IPV4, SERVICE_IPV4
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession, connecting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

USER = "alice@example.org"
ANSWERED_WITHIN_S, BACK_WITHIN_S = 30.0, 60.0
OF_ANOTHER_NAMESPACE = "kube-dns.kube-system"


@pytest.fixture(scope="module")
def kubeconfig(lab: Lab) -> Path:
    """Of a user without any rights."""
    return lab.kubeconfig(USER)


class TestOneNamespace:
    """Only the Role."""

    @pytest.fixture(scope="class")
    @classmethod
    def session(cls, lab: Lab, kubeconfig: Path) -> Iterator[ConnectSession]:
        options = ("--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig))
        with granted(lab, rbac.manifest(NAMESPACE, USER, whole_cluster=False)), connecting(lab, *options) as session:
            yield session
            session.quit()

    def test_services_and_pods_of_the_namespace(self, session: ConnectSession, laptop: Laptop) -> None:
        assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
        assert "store" in laptop.output("curl", "-sS", f"http://store-0.store.{NAMESPACE}:8080/")

    def test_its_names_come_from_the_watch(self, session: ConnectSession, laptop: Laptop, shop: Shop) -> None:
        reply = laptop.ask(f"web.{NAMESPACE}.svc.cluster.local", "A")
        assert [str(record.rdata) for record in reply.rr] == [shop.service("web").ipv4]

    def test_names_of_other_namespaces_come_from_the_clusters_dns(
        self, session: ConnectSession, laptop: Laptop
    ) -> None:
        assert CLUSTER_DNS_IPV4 in laptop.output("getent", "ahostsv4", OF_ANOTHER_NAMESPACE)
        assert laptop.run(["getent", "ahostsv4", "absent.kube-system"]).returncode == 2

    @pytest.mark.parametrize("family", ["ipv4", "ipv6"])
    def test_udp_and_ping(self, session: ConnectSession, laptop: Laptop, shop: Shop, family: str) -> None:
        pod = getattr(next(iter(shop.pods("echo").values())), family)
        for address, port in ((getattr(shop.service("echo"), family), 7), (pod, 7007)):
            with laptop.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as echo:
                echo.connect((address, port))
                wait_until(lambda: is_echoed(echo), ANSWERED_WITHIN_S, "an echo")
        assert " 0% packet loss" in laptop.output("ping", "-n", "-c", "2", "-i", "0.2", "-W", "20", pod)

    @pytest.mark.parametrize("what", ["link", "pod"])
    def test_it_comes_back(self, session: ConnectSession, lab: Lab, laptop: Laptop, shop: Shop, what: str) -> None:
        pod, losses = str(session.status()["pod"]), session.status()["link"]["losses"]
        if what == "pod":
            lab.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--wait=false")
        else:
            kill_in_pod(lab, pod, "sshd-session: ktpy@")

        def is_back() -> bool:
            status = session.status()
            return bool(status["link"]["losses"] > losses and status["state"] == "connected")

        wait_until(is_back, BACK_WITHIN_S, "the session to be back")
        assert (session.status()["pod"] == pod) is (what == "link")
        assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
        self.test_udp_and_ping(session, laptop, shop, "ipv4")

    def test_what_is_routed_is_what_he_may_see(self, session: ConnectSession) -> None:
        sources = {entry["source"] for entry in session.status()["ranges"]}
        assert f"the cluster IPs of the services in namespace {NAMESPACE}" in sources
        assert f"the addresses of the pods in namespace {NAMESPACE}" in sources


def test_who_may_create_services_is_told_the_service_range_by_a_dry_run(lab: Lab, kubeconfig: Path) -> None:
    before = lab.kubectl("-n", NAMESPACE, "get", "services", "-o", "name")
    rules = (*rbac.CONNECT, *rbac.CONNECT_OPTIONAL, Rule("", "services", ("create",)))
    options = ("--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig))
    with granted(lab, role(rules, USER)), connecting(lab, *options) as session:
        ranges = {entry["network"]: entry["source"] for entry in session.status()["ranges"]}
        session.quit()
    assert "invalid Service" in ranges[SERVICE_IPV4]
    assert lab.kubectl("-n", NAMESPACE, "get", "services", "-o", "name") == before


class TestWholeCluster:
    """The ClusterRole too."""

    @pytest.fixture(scope="class")
    @classmethod
    def session(cls, lab: Lab, kubeconfig: Path) -> Iterator[ConnectSession]:
        options = ("--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig))
        with granted(lab, rbac.manifest(NAMESPACE, USER)), connecting(lab, *options) as session:
            yield session
            session.quit()

    def test_whole_ranges_are_routed(self, lab: Lab, session: ConnectSession) -> None:
        ranges = {entry["network"]: entry["source"] for entry in session.status()["ranges"]}
        since_kubernetes_1_33 = lab.api.get("/apis/networking.k8s.io/v1/servicecidrs") is not None
        assert ranges[SERVICE_IPV4] == (BY_SERVICE_CIDR if since_kubernetes_1_33 else "the cluster IPs of all services")
        assert ranges[POD_IPV4] == "the nodes' podCIDRs"

    def test_services_of_every_namespace(self, session: ConnectSession, laptop: Laptop) -> None:
        assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
        reply = laptop.ask(f"{OF_ANOTHER_NAMESPACE}.svc.cluster.local", "A")
        assert [str(record.rdata) for record in reply.rr] == [CLUSTER_DNS_IPV4]
        with laptop.connection(CLUSTER_DNS_IPV4, 53):
            pass


def without(rule: Rule) -> str:
    """The documented Role, but for this rule."""
    return role((each for each in (*rbac.CONNECT, *rbac.CONNECT_OPTIONAL) if each != rule), USER)


@pytest.mark.parametrize("rule", rbac.CONNECT, ids=lambda rule: rule.resource)
def test_a_missing_rule_is_named(lab: Lab, laptop: Laptop, kubeconfig: Path, rule: Rule) -> None:
    before = laptop.network_state()
    with granted(lab, without(rule)):
        failed = attempt(lab, "--namespace", NAMESPACE, kubeconfig=kubeconfig)
        assert failed.exit_code == 14
        assert USER in failed.message
        assert [(asked.group, asked.resource, set(asked.verbs)) for asked in asked_for(failed.hint)] == [
            (rule.group, rule.resource, set(rule.verbs))
        ]
        assert laptop.network_state() == before
        assert lab.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs")["items"] == []


def test_all_that_is_missing_is_named_at_once(lab: Lab, kubeconfig: Path) -> None:
    """One failure, granted as it stands, is enough."""
    options = ("--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig))
    failed = attempt(lab, *options)
    assert f"ktpy rbac {NAMESPACE} {USER} |" in failed.hint.splitlines()[-1]
    with granted(lab, role(asked_for(failed.hint), USER)), connecting(lab, *options) as session:
        session.quit()


@pytest.mark.parametrize("rule", rbac.CONNECT_OPTIONAL, ids=lambda rule: rule.resource)
def test_an_optional_rule_may_be_missing(lab: Lab, laptop: Laptop, kubeconfig: Path, rule: Rule) -> None:
    options = ("--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig))
    with granted(lab, without(rule)), connecting(lab, *options) as session:
        assert "web greets you" in laptop.output("curl", "-sS", "http://web/")
        session.quit()
