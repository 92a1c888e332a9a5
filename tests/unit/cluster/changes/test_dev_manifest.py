from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from ktpy.cluster.changes.dev_manifest import DUPLICATE, REPLACE, DevPlan, clone_name, dev_deployment, ssh_port
from ktpy.cluster.changes.options import PersistentDir
from ktpy.cluster.names import SESSION, authorized_sessions
from ktpy.cluster.service.reference import Reference
from ktpy.kube.objects import Json
from ktpy.wire import dev
from tests.unit.cluster.changes.dev_cases import CONTAINER, KEY, POD


def plan(template: Json = POD, **more: Any) -> DevPlan:
    fields = {"mode": REPLACE, "session": "a", "owner": "al@laptop", "public_key": KEY, "agent_image": "agent:1"}
    return DevPlan(Reference("deployment", "web"), "shop", template, "web", **{**fields, **more})


def pod(of: DevPlan) -> Json:
    template: Json = dev_deployment(of)["spec"]["template"]
    return template


def test_a_replacement_is_behind_the_same_services() -> None:
    deployment = dev_deployment(plan())
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels["app"] == "web"
    assert "pod-template-hash" not in labels
    assert "app.kubernetes.io/name" not in labels  # a service may select by it
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert deployment["metadata"]["name"] == "web-ktpy-dev"


def test_of_a_duplicate_others_see_nothing() -> None:
    of = plan(mode=DUPLICATE)
    labels = pod(of)["metadata"]["labels"]
    assert "app" not in labels
    assert labels[SESSION] == "a"
    assert of.clone == "web-ktpy-dev-a"


def test_the_container_waits_for_the_developer_and_is_the_workloads_else() -> None:
    [container] = pod(plan())["spec"]["containers"]
    assert container["command"] == [dev.PROGRAM, "dev"]
    assert not container.keys() & {"args", "livenessProbe"}
    assert container["readinessProbe"]["tcpSocket"] == {"port": 8080}
    assert container["image"] == "shop/web:1"
    assert container["env"][0] == {"name": "COLOUR", "value": "red"}
    assert container["securityContext"] == {"runAsUser": 1000}
    assert pod(plan())["spec"]["serviceAccountName"] == "shop"
    assert authorized_sessions(pod(plan())["metadata"]["annotations"]) == {"a"}


def test_without_a_port_nothing_tells_when_the_program_is_ready() -> None:
    [container] = pod(plan({"spec": {"containers": [{"name": "web"}]}}))["spec"]["containers"]
    assert "readinessProbe" not in container


def test_another_image() -> None:
    [container] = pod(plan(image="golang:1.24"))["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("golang:1.24", "IfNotPresent")


def test_sources_have_a_folder_of_their_own() -> None:
    template = deepcopy(POD)
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "code", "mountPath": "/src/"}]
    spec = pod(plan(template, sources="/src"))["spec"]
    mounts = [one for one in spec["containers"][0]["volumeMounts"] if one["mountPath"].startswith("/src")]
    assert mounts == [{"name": "ktpy-sources", "mountPath": "/src"}]
    assert {"name": "ktpy-sources", "emptyDir": {}} in spec["volumes"]


def test_the_configuration_s_variables_and_resources() -> None:
    [container] = pod(plan(env=(("COLOUR", "blue"),), resources={"limits": {"memory": "4Gi"}}))["spec"]["containers"]
    assert [one["value"] for one in container["env"] if one["name"] == "COLOUR"] == ["blue"]
    assert container["resources"] == {"limits": {"memory": "4Gi"}}


def test_persistent_directories_are_claims_of_the_developer_s_own() -> None:
    of = plan(sources="/src", persistent=(PersistentDir("/src"), PersistentDir("/go", "1Gi")))
    template = pod(of)
    [container] = template["spec"]["containers"]
    places = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in template["spec"]["volumes"]}
    claims = [volumes[places[path]]["persistentVolumeClaim"]["claimName"] for path in ("/src", "/go")]
    assert claims == [of.claim_name("/src"), of.claim_name("/go")]
    assert (
        len({*claims, replace(of, owner="bo@laptop").claim_name("/go"), replace(of, session="b").claim_name("/go")})
        == 3
    )
    assert "ktpy-sources" not in volumes  # the folder that is synchronized is the one that is kept


def test_other_containers_stay_as_they_are() -> None:
    template = deepcopy(POD)
    template["spec"]["containers"].append(other := {"name": "proxy", "image": "proxy", "livenessProbe": {}})
    assert pod(plan(template))["spec"]["containers"][1] == other


def test_what_only_a_running_pod_has_is_left_out() -> None:
    template = deepcopy(POD)
    token = {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    template["spec"] |= {"nodeName": "n1", "volumes": [{"name": "kube-api-access-x"}], "restartPolicy": "Never"}
    template["spec"]["containers"][0]["volumeMounts"] = [token]
    spec = pod(plan(template))["spec"]
    assert not spec.keys() & {"nodeName", "restartPolicy"}
    assert "kube-api-access-x" not in str(spec)


def test_the_agent_s_port_is_none_of_the_workloads() -> None:
    template = deepcopy(POD)
    template["spec"]["containers"][0]["ports"] = [{"containerPort": 2222}]
    assert ssh_port(pod(plan(template)), "web") == 2223
    assert ssh_port(pod(plan()), "web") == 2222


@pytest.mark.parametrize(
    ("more", "is_exclusive"),
    [
        ({}, False),
        ({"claims_of_set": {"data": "data-db-0"}}, True),
        ({"claims_of_set": {"data": "d"}, "mode": DUPLICATE}, False),
    ],
)
def test_two_never_write_to_the_claim_of_one(more: Json, is_exclusive: bool) -> None:
    of = plan(**more)
    assert of.is_exclusive is is_exclusive
    volumes = {one["name"]: one for one in pod(of)["spec"]["volumes"]}
    if more:
        assert ("persistentVolumeClaim" in volumes["data"]) is is_exclusive


def test_a_port_of_the_node_is_for_one_pod() -> None:
    template = deepcopy(POD)
    template["spec"]["containers"] = [{**CONTAINER, "ports": [{"containerPort": 80, "hostPort": 80}]}]
    assert plan(template).is_exclusive
    assert not replace(plan(template), reference=Reference("pod", "web")).is_exclusive  # it stays where it is


def test_each_kind_has_a_name_of_its_own() -> None:
    kinds = [clone_name(Reference(kind, "web")) for kind in ("deployment", "statefulset", "cronjob")]
    assert len(set(kinds)) == 3
    assert clone_name(Reference("deployment", "web-statefulset")) not in kinds
    assert len(replace(plan(), reference=Reference("statefulset", "w" * 60)).clone) <= 63
