"""What is refused with a sentence, and nothing changed."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster_gateway.people import NAMESPACE, SERVICES, answer, essence, leftovers
from tests.e2e.test_cluster_shadow import applied
from tests.lab import Lab


def a_service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    spec = {"selector": {"app": "web"}, "ports": ports} | spec
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def a_slice(service: str) -> dict[str, Any]:
    """As the endpoints of a StatefulSet's pods."""
    metadata = {"name": f"{service}-0", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": service}}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.9.9"], "hostname": "db-0", "conditions": {"ready": True}}],
    }


class TestRefusals:
    @pytest.fixture(scope="class")
    def several(self, cluster: Lab) -> Iterator[Lab]:
        tls = [{"name": "tls", "port": 443, "protocol": "TCP"}]
        sctp = [{"name": "s", "port": 80, "protocol": "SCTP"}]
        objects = [
            a_service("bare", selector=None),
            a_service("elsewhere", type="ExternalName", externalName="x.example.org", selector=None, ports=None),
            a_service("db", clusterIP="None", selector={"app": "db"}),
            a_slice("db"),
            a_service("secure", ports=tls),
            a_service("sctp", ports=sctp),
        ]
        with applied(cluster, *objects):
            yield cluster

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            (("wep", "--expose", "1:80"), "TargetAbsent", "There is no service wep"),
            (("pod/none", "--expose", "1:80"), "TargetAbsent", "There is no pod/none"),
            (("deployment/web", "--expose", "1:80"), "TargetAmbiguous", "secure, web"),
            (("bare", "--expose", "1:80"), "TargetUnsuitable", "has no selector"),
            (("elsewhere", "--expose", "1:80"), "TargetUnsuitable", "x.example.org"),
            (("db", "--expose", "1:80"), "TargetUnsuitable", "a name of its own"),
            (("sctp", "--expose", "1:80"), "TargetUnsuitable", "SCTP"),
            (("secure", "--expose", "1:443", "--mesh"), "TargetUnsuitable", "TLS"),
            (("echo", "--expose", "1:8", "--mesh"), "TargetUnsuitable", "Nothing says that port 8"),
            (("echo", "--expose", "1:echo-udp"), "TargetUnsuitable", "Exposing a UDP port is not supported yet"),
            (("web", "--expose", "1:81"), "PortUnknown", "has no port 81"),
        ],
    )
    def test_a_sentence_and_nothing_changed(
        self, several: Lab, arguments: tuple[str, ...], error: str, words: str
    ) -> None:
        before = versions(several)
        told = answer(several, "refuse", *arguments)
        assert told["error"] == error
        assert words in told["message"] + str(told["hint"])
        assert versions(several) == before


def versions(lab: Lab) -> dict[str, str]:
    items = lab.api.get(SERVICES)["items"]
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}


def test_a_quota(cluster: Lab) -> None:
    before = essence(cluster)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": NAMESPACE},
        "spec": {"hard": {"requests.memory": "1Mi"}},
    }
    with applied(cluster, quota):
        told = answer(cluster, "enter", "web")
    assert told["error"] == "QuotaExceeded"
    assert "exceeded quota: small" in told["message"]
    assert essence(cluster) == before
    assert leftovers(cluster) == []
