from typing import Any

import pytest

from ktpy.cluster.pods.overlay import overlaid, placement_of

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}},
    "spec": {
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "containers": [{"name": "agent", "image": "i", "resources": {"limits": {"memory": "512Mi"}}}],
        "volumes": [{"name": "run", "emptyDir": {"medium": "Memory"}}],
    },
}


@pytest.mark.parametrize(
    ("overlay", "at", "merged"),
    [
        ({"metadata": {"labels": {"b": "2"}}}, ("metadata", "labels"), {"a": "1", "b": "2"}),
        ({"metadata": {"labels": {"a": None}}}, ("metadata", "labels"), {}),
        (
            {"spec": {"nodeSelector": {"disk": "ssd"}}},
            ("spec", "nodeSelector"),
            {"kubernetes.io/os": "linux", "disk": "ssd"},
        ),
        (
            {"spec": {"containers": [{"name": "agent", "resources": {"limits": {"cpu": "1"}}}]}},
            ("spec", "containers"),
            [{"name": "agent", "image": "i", "resources": {"limits": {"memory": "512Mi", "cpu": "1"}}}],
        ),
        (
            {"spec": {"containers": [{"name": "more"}]}},
            ("spec", "containers"),
            [*TEMPLATE["spec"]["containers"], {"name": "more"}],
        ),
        ({"spec": {"imagePullSecrets": [{"name": "s"}]}}, ("spec", "imagePullSecrets"), [{"name": "s"}]),
        ({"spec": {"priorityClassName": "low"}}, ("spec", "priorityClassName"), "low"),
        ({}, ("spec", "volumes"), TEMPLATE["spec"]["volumes"]),
    ],
)
def test_a_template_with_an_overlay(overlay: dict[str, Any], at: tuple[str, str], merged: Any) -> None:
    assert overlaid(TEMPLATE, overlay)[at[0]][at[1]] == merged


def test_the_template_stays_as_it_was() -> None:
    overlaid(TEMPLATE, {"spec": {"containers": [{"name": "agent", "image": "j"}], "nodeSelector": {"a": "b"}}})
    assert TEMPLATE["spec"]["containers"][0]["image"] == "i"
    assert TEMPLATE["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_tolerations_are_added() -> None:
    first = overlaid(TEMPLATE, {"spec": {"tolerations": [{"key": "a"}]}})
    assert overlaid(first, {"spec": {"tolerations": [{"key": "b"}]}})["spec"]["tolerations"] == [
        {"key": "a"},
        {"key": "b"},
    ]


def test_where_a_pod_may_run() -> None:
    gpu = {"key": "gpu", "operator": "Exists"}
    own = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}
    pod = {"spec": {"nodeSelector": {"disk": "ssd"}, "tolerations": [gpu, own]}}
    assert placement_of(pod) == {"spec": {"nodeSelector": {"disk": "ssd"}, "tolerations": [gpu]}}
    assert placement_of({}) == {"spec": {}}
