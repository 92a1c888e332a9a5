"""A namespace with services web and echo, and what must be true of it whatever these tests do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo import manifest
from tests.e2e.cluster_gateway.people import NAMESPACE, answering, essence, leftovers
from tests.e2e.test_cluster_shadow import apply
from tests.lab import Lab
from tests.lab.images import WORKLOAD_IMAGE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"))


@pytest.fixture(scope="package")
def cluster(lab: Lab) -> Iterator[Lab]:
    """The lab with services web and echo in a namespace that enforces Pod Security `restricted`."""
    namespace, *objects = manifest.shop(WORKLOAD_IMAGE, NAMESPACE)
    namespace["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    wanted = [one for one in objects if one["kind"] == "ConfigMap" or one["metadata"]["name"] in ("web", "echo")]
    apply(lab, namespace, *wanted)
    lab.kubectl("-n", NAMESPACE, "rollout", "status", "deployment", "--timeout=60s", timeout_s=70)
    yield lab
    lab.kubectl("delete", "namespace", NAMESPACE)


@pytest.fixture
def undisturbed(cluster: Lab) -> Iterator[Lab]:
    """Service web answers throughout, and is afterwards what it was; and nothing of ktpy's is left."""
    before = essence(cluster)
    with answering(cluster):
        yield cluster
    assert essence(cluster) == before
    assert leftovers(cluster) == []
