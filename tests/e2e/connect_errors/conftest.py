"""The namespace, and what each failure must leave: nothing."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.connect_errors.failing import NAMESPACE, api_object
from tests.e2e.kit.failed_command import Kubeconfigs
from tests.e2e.kit.faults import stranger
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.workloads import until_usable
from tests.lab import Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"))


@pytest.fixture(scope="package", autouse=True)
def _namespace(lab: Lab) -> Iterator[None]:
    namespace = api_object("Namespace", NAMESPACE)
    namespace["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    until_usable(lab, NAMESPACE)
    yield
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="package")
def kubeconfigs(lab: Lab) -> Kubeconfigs:
    return Kubeconfigs(lab, "errors")


@pytest.fixture(scope="package")
def eve(lab: Lab) -> Iterator[str]:
    with stranger(lab) as name:
        yield name


@pytest.fixture(autouse=True)
def _nothing_is_left(lab: Lab, laptop: Laptop) -> Iterator[None]:
    before = laptop.network_state()
    yield
    assert laptop.network_state() == before
    assert lab.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs")["items"] == []
    assert lab.exec(["find", "/var/lib/ktpy", "-type", "f"]).stdout == ""
