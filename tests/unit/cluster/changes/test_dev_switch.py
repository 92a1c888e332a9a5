from typing import Any

import pytest

from ktpy.cluster.changes import dev_switch
from ktpy.cluster.changes.dev_switch import DEVELOPED, SWITCHES, Switch
from ktpy.errors import RestoreIncomplete
from ktpy.kube.objects import Json

REPLICAS: Json = {"f:spec": {"f:replicas": {}}}


def item(**spec: Any) -> Json:
    managed = [{"manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": REPLICAS}]
    return {"metadata": {"name": "web", "uid": "u", "resourceVersion": "7", "managedFields": managed}, "spec": spec}


def merged(target: Json, patch: Json) -> Json:
    """RFC 7396, with the manager that the API server notes for it."""
    found = dict(target)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key) or {}, value) if isinstance(value, dict) else value
    return found


def switch(kind: str) -> Switch:
    found = SWITCHES[kind]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "before", "off"),
    [
        ("deployment", item(replicas=3), 0),
        ("statefulset", item(replicas=0), 0),
        ("cronjob", item(suspend=False), True),
        ("daemonset", item(template={"spec": {}}), {"ktpy.dev/developed": "elsewhere"}),
        ("daemonset", item(template={"spec": {"nodeSelector": {"disk": "ssd"}}}), {"ktpy.dev/developed": "elsewhere"}),
    ],
)
def test_there_and_back(kind: str, before: Json, off: Any) -> None:
    one = switch(kind)
    patch = dev_switch.switching_off(before, one, "a", "al")
    assert patch is not None
    during = merged(before, patch)
    assert one.value(during) == off
    assert dev_switch.read(during) is not None
    if (back := dev_switch.switching_on(during, one, {"a"})) is not None:
        during = merged(during, back)
    last = dev_switch.closing(during, one, {"a"})
    assert last is not None
    assert merged(during, last)["spec"] == before["spec"]
    assert DEVELOPED not in merged(during, last)["metadata"].get("annotations", {})


def test_a_pod_gives_its_labels_up_and_gets_them_back() -> None:
    one, pod = (
        switch("pod"),
        {"metadata": {"name": "web", "uid": "u", "resourceVersion": "7", "labels": {"app": "web"}}},
    )
    during = merged(pod, dev_switch.switching_off(pod, one, "a", "al") or {})
    assert not one.value(during)
    during["metadata"].pop("labels")  # as the API server leaves it out
    assert merged(during, dev_switch.switching_on(during, one, {"a"}) or {})["metadata"]["labels"] == {"app": "web"}


@pytest.mark.parametrize("before", [None, {}, {"disk": "ssd"}])
def test_keys_that_others_have_added_to_a_map_meanwhile_keep_nothing_off(before: Any) -> None:
    one, found = switch("daemonset"), item(template={"spec": {"nodeSelector": before} if before is not None else {}})
    during = merged(found, dev_switch.switching_off(found, one, "a", "al") or {})
    during["spec"]["template"]["spec"]["nodeSelector"]["kubernetes.io/os"] = "linux"
    after = merged(during, dev_switch.switching_on(during, one, {"a"}) or {})
    assert one.value(after) == {**(before or {}), "kubernetes.io/os": "linux"}
    assert dev_switch.switching_on(after, one, {"a"}) is None


def test_labels_that_others_have_given_a_pod_meanwhile_stay_beside_its_own() -> None:
    one, labels = switch("pod"), {"app": "web", "team": "a"}
    pod = {"metadata": {"name": "web", "uid": "u", "resourceVersion": "7", "labels": labels}}
    during = merged(pod, dev_switch.switching_off(pod, one, "a", "al") or {})
    during["metadata"]["labels"] = {"team": "b", "seen": "yes"}
    after = merged(during, dev_switch.switching_on(during, one, {"a"}) or {})
    assert one.value(after) == {"app": "web", "team": "b", "seen": "yes"}


def test_the_annotation_does_not_go_before_the_key_that_keeps_it_off() -> None:
    one, found = switch("daemonset"), item(template={"spec": {"nodeSelector": {"disk": "ssd"}}})
    during = merged(found, dev_switch.switching_off(found, one, "a", "al") or {})
    last = dev_switch.closing(during, one, {"a"}) or {}  # somebody has written the key back meanwhile
    assert one.value(merged(during, last)) == {"disk": "ssd"}


def test_what_is_scaled_to_nothing_after_it_was_given_back_stays() -> None:
    one, before = switch("deployment"), item(replicas=3)
    during = merged(before, dev_switch.switching_off(before, one, "a", "al") or {})
    assert "spec" not in (dev_switch.closing(during, one, {"a"}) or {})


def test_the_patch_is_for_the_object_as_it_was_seen() -> None:
    patch = dev_switch.switching_off(item(replicas=3), switch("deployment"), "a", "al") or {}
    assert (patch["metadata"]["uid"], patch["metadata"]["resourceVersion"]) == ("u", "7")


def test_what_somebody_else_has_scaled_meanwhile_stays() -> None:
    one, before = switch("deployment"), item(replicas=3)
    during = merged(before, dev_switch.switching_off(before, one, "a", "al") or {})
    during["spec"]["replicas"] = 5
    assert dev_switch.switching_on(during, one, {"a"}) is None


def test_another_session_s_is_left_alone() -> None:
    one, before = switch("deployment"), item(replicas=3)
    during = merged(before, dev_switch.switching_off(before, one, "a", "al") or {})
    assert dev_switch.switching_on(during, one, {"b"}) is None
    assert dev_switch.closing(during, one, {"b"}) is None
    assert dev_switch.switching_off(during, one, "b", "bo") is None


def test_the_field_s_manager_is_who_it_was() -> None:
    one, before = switch("deployment"), item(replicas=3)
    during = merged(before, dev_switch.switching_off(before, one, "a", "al") or {})
    during["metadata"]["managedFields"] = [
        {"manager": "ktpy", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": REPLICAS}
    ]
    last = dev_switch.closing(during, one, {"a"}) or {}
    assert last["metadata"]["managedFields"] == [{**before["metadata"]["managedFields"][0], "fieldsType": "FieldsV1"}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"session": "a", "owner": "b", "value": 1, "managers": 3}',
        '{"session": "a", "owner": "b", "value": 1, "managers": ["x"]}',
        '{"session": "a", "owner": "b", "value": 1, "managers": [{"marks": 3}]}',
    ],
)
def test_an_annotation_that_somebody_has_broken(text: str) -> None:
    broken = item(replicas=0)
    broken["metadata"]["annotations"] = {DEVELOPED: text}
    with pytest.raises(RestoreIncomplete, match="cannot be read"):
        dev_switch.read(broken)


@pytest.mark.parametrize(
    ("kind", "status", "serves"),
    [
        ("deployment", {"observedGeneration": 2, "readyReplicas": 3}, True),
        ("deployment", {"observedGeneration": 2, "readyReplicas": 2}, False),
        ("deployment", {"observedGeneration": 1, "readyReplicas": 3}, False),
        ("daemonset", {"observedGeneration": 2, "desiredNumberScheduled": 1, "numberReady": 1}, True),
        ("daemonset", {"observedGeneration": 2, "desiredNumberScheduled": 1}, False),
        ("cronjob", {}, True),
    ],
)
def test_whether_its_own_pods_serve(kind: str, status: Json, serves: bool) -> None:
    found = {"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": status}
    assert dev_switch.serves(found, kind) is serves


def test_which_pods_are_its_own() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "app", "operator": "Exists"},
    ]
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": expressions}
    assert dev_switch.label_selector({"spec": {"selector": selector}}) == "app=web,tier in (a,b),!old,app"


def test_who_owns_it() -> None:
    owner = {"kind": "Deployment", "name": "web", "controller": True}
    assert dev_switch.controller_of({"metadata": {"ownerReferences": [owner]}}) == "deployment/web"
    assert dev_switch.controller_of({"metadata": {}}) is None
