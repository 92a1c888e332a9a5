from ktpy.cluster.pods.sources import variable_sources, volume_source


def test_variables_come_in_the_order_in_which_kubernetes_applies_them() -> None:
    container = {
        "env": [
            {"name": "COLOUR", "value": "red"},
            {"name": "EMPTY"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "db"}}},
            {"name": "SIZE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "SIZE"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
            {"name": "NEW", "valueFrom": {"fileKeyRef": {"path": "x"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}, "prefix": "KEY_"}],
    }
    assert list(map(tuple, variable_sources(container))) == [
        ("*", "configmap/settings"),
        ("KEY_*", "secret/keys"),
        ("COLOUR", "value"),
        ("EMPTY", "value"),
        ("PASSWORD", "secret/keys, key db"),
        ("SIZE", "configmap/settings, key SIZE"),
        ("POD", "field metadata.name"),
        ("CPU", "resource requests.cpu"),
        ("NEW", "fileKeyRef"),
    ]
    assert list(variable_sources({})) == []


def test_a_volume_is_called_by_its_kind_and_object() -> None:
    assert volume_source({"name": "v", "configMap": {"name": "c"}}) == "configMap c"
    assert volume_source({"secret": {"secretName": "s"}, "name": "v"}) == "secret s"
    assert volume_source({"name": "v", "persistentVolumeClaim": {"claimName": "data"}}) == "persistentVolumeClaim data"
    assert volume_source({"name": "v", "emptyDir": {}}) == "emptyDir"
    assert volume_source({"name": "v"}) == "emptyDir"
    assert volume_source({"name": "v", "hostPath": {"path": "/x"}}) == "hostPath"
