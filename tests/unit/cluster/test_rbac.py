from typing import Any

import yaml

from ktpy.cluster import rbac


def documents(**options: Any) -> dict[str, dict[str, Any]]:
    text = rbac.manifest("shop", "alice@example.org", **options)
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_role_is_in_the_users_namespace_and_bound_to_the_user() -> None:
    role, binding = documents()["Role"], documents()["RoleBinding"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "shop"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice@example.org"}
    ]


def test_the_role_grants_neither_secrets_nor_exec() -> None:
    resources = {resource for rule in documents()["Role"]["rules"] for resource in rule["resources"]}
    assert resources.isdisjoint({"secrets", "pods/exec", "*"})


def test_services_are_made_by_those_only_who_go_past_the_api_server() -> None:
    made = {"apiGroups": [""], "resources": ["services"], "verbs": ["create"]}
    assert made not in documents()["Role"]["rules"]
    assert made in documents(via_node=True)["Role"]["rules"]


def test_a_port_forward_over_websocket_needs_get() -> None:
    [rule] = [rule for rule in rbac.CONNECT if rule.resource == "pods/portforward"]
    assert set(rule.verbs) == {"get", "create"}


def test_whole_cluster_rights_only_read() -> None:
    rules = documents()["ClusterRole"]["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}


def test_whole_cluster_rights_are_optional() -> None:
    assert set(documents(whole_cluster=False)) == {"Role", "RoleBinding"}


def test_binding_names_are_legal() -> None:
    assert documents()["RoleBinding"]["metadata"]["name"] == "ktpy-alice-example-org"


def test_rights_for_intercepts_are_a_role_of_their_own() -> None:
    text = rbac.manifest("shop", "alice", whole_cluster=False, intercept=True)
    found = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(text)]
    assert ("Role", "ktpy-intercept") in found
    assert ("RoleBinding", "ktpy-intercept-alice") in found
    assert ("Role", "ktpy-intercept") not in [(one["kind"], one["metadata"]["name"]) for one in documents().values()]


def test_exec_is_granted_only_where_it_is_asked_for() -> None:
    for asked in (False, True):
        text = rbac.manifest("shop", "alice", whole_cluster=False, run=True, from_pod=asked)
        assert ("pods/exec" in text) is asked


def test_dev_needs_neither_secrets_nor_exec() -> None:
    text = rbac.manifest("shop", "alice", whole_cluster=False, dev=True)
    assert ("Role", "ktpy-dev") in [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(text)]
    resources = {rule.resource for rule in rbac.DEV + rbac.DEV_OPTIONAL}
    assert resources.isdisjoint({"secrets", "configmaps", "pods/exec", "*"})


def test_run_needs_neither_secrets_nor_config_maps_nor_exec() -> None:
    text = rbac.manifest("shop", "alice", whole_cluster=False, run=True)
    assert ("Role", "ktpy-run") in [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(text)]
    resources = {rule.resource for rule in rbac.CONNECT + rbac.RUN}
    assert resources.isdisjoint({"secrets", "configmaps", "pods/exec", "*"})
    assert {verb for rule in rbac.RUN for verb in rule.verbs} == {"get"}


def test_rights_for_what_leads_in_from_outside_go_with_intercepts() -> None:
    for asked in (False, True):
        text = rbac.manifest("shop", "alice", intercept=asked)
        for resource in ("ingresses", "ingressclasses", "httproutes", "gateways"):
            assert (f'resources: ["{resource}"]' in text) is asked


def test_intercepts_need_neither_secrets_nor_exec() -> None:
    resources = {rule.resource for rule in rbac.INTERCEPT + rbac.INTERCEPT_OPTIONAL}
    assert resources.isdisjoint({"secrets", "pods/exec", "configmaps", "*"})
