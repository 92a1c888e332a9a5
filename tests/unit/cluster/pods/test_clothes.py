"""A workload's template, and what the shadow pod wears of it. That a cluster takes it shows in e2e/test_env.py."""

from typing import Any

import pytest

from ktpy.cluster.pods.clothes import DEFAULT_CONTAINER, Clothes, clothes_of
from ktpy.cluster.pods.shadow_manifest import shadow_job
from ktpy.errors import TargetAbsent, TargetAmbiguous

IMAGE = "agent:1"


def template(*containers: dict[str, Any], metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": metadata or {}, "spec": {"containers": list(containers or [{"name": "main"}]), **spec}}


def worn(made: dict[str, Any], container: str | None = None) -> dict[str, Any]:
    """The shadow pod's spec in these clothes."""
    job = shadow_job(
        session="5e55",
        owner="alice",
        namespace="shop",
        image=IMAGE,
        public_key="ssh-ed25519 AAAA",
        pod_timeout_s=60,
        pod_overlay=clothes_of(made, container, IMAGE).overlay,
    )
    pod: dict[str, Any] = job["spec"]["template"]
    return {"labels": pod["metadata"]["labels"], **pod["spec"]}


def environment(made: dict[str, Any]) -> dict[str, Any]:
    [found] = [one for one in worn(made)["containers"] if one["name"] == "environment"]
    return dict(found)


def variables(*env: dict[str, Any], **of_container: Any) -> dict[str, Any]:
    return {"name": "main", "env": list(env), **of_container}


def from_(kind: str, **reference: Any) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {kind: reference}}


def test_the_kubelet_resolves_what_the_container_asks_for() -> None:
    env: list[dict[str, Any]] = [
        {"name": "A", "value": "1"},
        from_("secretKeyRef", name="s", key="k"),
        from_("fieldRef", fieldPath="status.podIP"),
    ]
    sources = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}, "prefix": "P_"}]
    found = environment(template(variables(*env, envFrom=sources)))
    assert (found["env"], found["envFrom"]) == (env, sources)


def test_the_agent_gets_none_of_the_variables() -> None:
    [agent] = [
        one
        for one in worn(template(variables({"name": "LD_PRELOAD", "value": "x"})))["containers"]
        if one["name"] == "agent"
    ]
    assert "env" not in agent
    assert "envFrom" not in agent


def test_neither_labels_nor_probes_nor_ports_nor_other_containers_are_worn() -> None:
    probe = {"httpGet": {"port": 80}}
    main = {"name": "main", "livenessProbe": probe, "ports": [{"containerPort": 80}], "command": ["run"], "image": "x"}
    made = template(
        main,
        {"name": "sidecar"},
        metadata={"labels": {"app": "web"}, "annotations": {"prometheus.io/scrape": "true"}},
        initContainers=[{"name": "first"}],
    )
    pod = worn(made, "main")
    assert "app" not in pod["labels"]
    assert [one["name"] for one in pod["containers"]] == ["agent", "environment"]
    assert "initContainers" not in pod
    assert {one["image"] for one in pod["containers"]} == {IMAGE}
    assert "livenessProbe" not in pod["containers"][1]
    assert "ports" not in pod["containers"][1]


def test_every_container_passes_pod_security() -> None:
    for one in worn(template(variables({"name": "A", "value": "1"})))["containers"]:
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_service_account_is_the_workloads() -> None:
    pod = worn(template(serviceAccountName="clerk"))
    assert pod["serviceAccountName"] == "clerk"
    assert "automountServiceAccountToken" not in pod  # the account's own choice counts
    assert "enableServiceLinks" not in pod
    assert worn(template(automountServiceAccountToken=False))["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("of_pod", "of_container", "expected"),
    [
        ({"runAsUser": 1000, "fsGroup": 2000}, {}, {"runAsUser": 1000, "fsGroup": 2000}),
        ({"runAsUser": 1000}, {"runAsUser": 2000, "runAsGroup": 3000}, {"runAsUser": 2000, "runAsGroup": 3000}),
        ({"runAsUser": 0, "supplementalGroups": [5]}, {}, {"supplementalGroups": [5]}),
        ({"runAsUser": 101}, {}, {}),
    ],
)
def test_it_is_who_may_read_the_workloads_files_but_never_root(
    of_pod: dict[str, Any], of_container: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = worn(template({"name": "main", "securityContext": of_container}, securityContext=of_pod))["securityContext"]
    assert {
        key: value for key, value in found.items() if key not in ("sysctls", "seccompProfile", "runAsNonRoot")
    } == expected
    assert found["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("path", "value"),
    [("metadata.labels['app']", "web$$x"), ("metadata.labels['none']", ""), ("metadata.annotations['a/b']", "c")],
)
def test_labels_and_annotations_are_told_though_it_has_none(path: str, value: str) -> None:
    metadata = {"labels": {"app": "web$x"}, "annotations": {"a/b": "c"}}
    found = environment(template(variables(from_("fieldRef", fieldPath=path)), metadata=metadata))
    assert found["env"] == [{"name": "X", "value": value}]


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "requests.memory"}, str(64 << 20)),
        ({"resource": "requests.cpu", "divisor": "1m"}, "250"),
        ({"resource": "requests.ephemeral-storage"}, "0"),
        ({"resource": "limits.cpu", "containerName": "other"}, "2"),
    ],
)
def test_resources_are_the_workloads(reference: dict[str, Any], value: str) -> None:
    resources = {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}
    other = {"name": "other", "resources": {"limits": {"cpu": 2}}}
    made = template(variables(from_("resourceFieldRef", **reference), resources=resources), other)
    made["metadata"] = {"annotations": {DEFAULT_CONTAINER: "main"}}
    assert environment(made)["env"] == [{"name": "X", "value": value}]


def test_where_there_is_no_limit_the_kubelet_tells_the_nodes() -> None:
    found = environment(template(variables(from_("resourceFieldRef", resource="limits.cpu", containerName="main"))))
    assert found["env"] == [from_("resourceFieldRef", resource="limits.cpu")]
    assert "limits" not in found["resources"]


def test_which_values_are_secret() -> None:
    env: list[dict[str, Any]] = [
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "URL", "value": "db:$(PASSWORD)"},
        {"name": "SECOND", "value": "$(URL)"},
        {"name": "ESCAPED", "value": "$$(PASSWORD)"},
        {"name": "KEY_A", "value": "written over"},
        {"name": "OF_WHOLE", "value": "$(KEY_B)"},
    ]
    clothes: Clothes = clothes_of(template(variables(*env, envFrom=[{"secretRef": {"name": "s"}}])), None, IMAGE)
    assert clothes.secret_names == {"PASSWORD", "URL", "SECOND"}
    assert clothes.all_secret_names(("KEY_A", "KEY_B")) == {"PASSWORD", "URL", "SECOND", "KEY_B", "OF_WHOLE"}


def test_whole_secrets_are_mounted_for_their_names() -> None:
    sources = [
        {"secretRef": {"name": "one"}, "prefix": "P_"},
        {"configMapRef": {"name": "c"}},
        {"secretRef": {"name": "two", "optional": True}},
    ]
    made = template(variables(envFrom=sources))
    assert environment(made)["command"] == ["/usr/local/bin/ktpy-agent", "environment", "P_", ""]
    secrets = [volume["secret"] for volume in worn(made)["volumes"] if "secret" in volume]
    assert secrets == [{"secretName": "one", "optional": False}, {"secretName": "two", "optional": True}]


def test_the_container_is_chosen_as_kubectl_does() -> None:
    two = [{"name": "main"}, {"name": "other"}]
    assert clothes_of(template(*two), "other", IMAGE).container == "other"
    annotated = template(*two, metadata={"annotations": {DEFAULT_CONTAINER: "other"}})
    assert clothes_of(annotated, None, IMAGE).container == "other"
    assert clothes_of(annotated, "main", IMAGE).container == "main"
    with pytest.raises(TargetAmbiguous, match="2 containers"):
        clothes_of(template(*two), None, IMAGE)
    with pytest.raises(TargetAbsent, match="no container third"):
        clothes_of(template(*two), "third", IMAGE)


def test_which_variables_are_of_the_pod_itself_and_which_may_hold_secrets() -> None:
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(POD_IP)/"},
        {"name": "KEY_PLAIN", "value": "x"},
    ]
    whole = [{"secretRef": {"name": "keys"}, "prefix": "KEY_"}, {"configMapRef": {"name": "settings"}}]
    template = {"metadata": {}, "spec": {"containers": [{"name": "main", "env": env, "envFrom": whole}]}}
    clothes = clothes_of(template, None, "agent:1")
    assert clothes.own_names == {"POD_IP", "URL"}
    assert clothes.secret_names_among(["KEY_DB", "KEY_PLAIN", "POD_IP", "LANG"]) == {"KEY_DB"}
