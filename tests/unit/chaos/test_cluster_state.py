"""What is compared of a workload."""

import copy
from typing import Any

import pytest

from tests.chaos.cluster_state import essence

SERVICE: dict[str, Any] = {
    "metadata": {
        "name": "target",
        "resourceVersion": "7",
        "generation": 2,
        "annotations": {"a": "b"},
        "managedFields": [
            {"manager": "kubectl", "time": "now", "fieldsV1": {}},
            {"manager": "kubelet", "subresource": "status"},
        ],
    },
    "spec": {"selector": {"app": "original"}},
    "status": {"replicas": 1},
}


@pytest.mark.parametrize(
    ("path", "value", "is_seen"),
    [
        (("metadata", "resourceVersion"), "8", False),
        (("metadata", "generation"), 3, False),
        (("status", "replicas"), 0, False),
        (("metadata", "annotations"), {}, True),
        (("spec", "selector"), {"app": "gateway"}, True),
    ],
)
def test_what_the_api_server_counts_is_left_out(path: tuple[str, str], value: object, is_seen: bool) -> None:
    changed = copy.deepcopy(SERVICE)
    changed[path[0]][path[1]] = value
    assert (essence(changed) != essence(SERVICE)) == is_seen


@pytest.mark.parametrize(("key", "value", "is_seen"), [("time", "later", False), ("manager", "ktpy", True)])
def test_whose_the_fields_are_counts_and_when_does_not(key: str, value: str, is_seen: bool) -> None:
    changed = copy.deepcopy(SERVICE)
    changed["metadata"]["managedFields"][0][key] = value
    assert (essence(changed) != essence(SERVICE)) == is_seen
