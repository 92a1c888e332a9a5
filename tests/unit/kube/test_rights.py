import yaml

from ktpy.kube.rights import Rule, rule_yaml


def test_rule_yaml_is_one_rule_of_a_role() -> None:
    text = rule_yaml(Rule("batch", "jobs", ("create",)))
    assert yaml.safe_load(text) == [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}]
