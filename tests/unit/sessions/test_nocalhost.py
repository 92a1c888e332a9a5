import json
from dataclasses import replace
from pathlib import Path

import pytest

from ktpy.errors import UsageError
from ktpy.sessions.dev_config import DevConfig, read
from tests.unit.sessions.test_dev_config import written

DEV = {
    "gitUrl": "a",
    "image": "a",
    "imagePullPolicy": "Always",
    "shell": "a",
    "workDir": "/a",
    "devContainerName": "a",
    "useDevContainer": True,
    "storageClass": "a",
    "resources": {"limits": {"cpu": "1"}},
    "persistentVolumeDirs": [{"path": "/a", "capacity": "1Gi"}],
    "command": {key: ["a"] for key in ("build", "run", "debug", "hotReloadRun", "hotReloadDebug")},
    "debug": {"remoteDebugPort": 1, "language": "go"},
    "hotReload": True,
    "sync": {
        "type": "send",
        "mode": "pattern",
        "deleteProtection": True,
        "filePattern": ["src"],
        "ignoreFilePattern": ["a"],
    },
    "env": [{"name": "a", "value": "b"}],
    "envFrom": {"envFile": [{"path": "a"}]},
    "portForward": ["1:2"],
    "sidecarImage": "a",
    "patches": [{"type": "merge", "patch": "{spec: {paused: false}}"}],
}
FIELDS = [
    *((key, {key: value}) for key, value in DEV.items() if not isinstance(value, dict)),
    *(
        (f"{key}.{inner}", {key: {inner: one}})
        for key, value in DEV.items()
        if isinstance(value, dict)
        for inner, one in value.items()
    ),
]


def test_an_application_s_workloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "configProperties: {version: v2}\napplication:\n  name: shop\n  helmValues: []\n  services:\n"
        '  - name: catalog\n    containers: [{dev: {image: "${REGISTRY:-docker.io}/go:${TAG}"}}]'
    )
    monkeypatch.delenv("REGISTRY", raising=False)
    monkeypatch.delenv("TAG", raising=False)
    assert read(written(tmp_path, text), "catalog", None).image == "docker.io/go:"
    assert read(written(tmp_path, text), "web", None) == DevConfig()


@pytest.mark.parametrize(
    ("target", "image"), [("catalog", "a"), ("deploy/catalog", "a"), ("sts/catalog", "b"), ("cronjob/catalog", "")]
)
def test_several_workloads_and_kinds(tmp_path: Path, target: str, image: str) -> None:
    kinds = {"deployment": "a", "StatefulSet": "b"}
    texts = [
        f"{{name: catalog, serviceType: {kind}, containers: [{{dev: {{image: {image}}}}}]}}"
        for kind, image in kinds.items()
    ]
    assert read(written(tmp_path, f"[{', '.join(texts)}]"), target, None).image == image


@pytest.mark.parametrize(("key", "dev"), FIELDS, ids=[key for key, _ in FIELDS])
def test_a_field_has_effect_or_is_named(tmp_path: Path, key: str, dev: dict[str, object]) -> None:
    (tmp_path / "a").write_text("B=c")
    found = read(written(tmp_path, json.dumps({"name": "a", "containers": [{"dev": dev}]})), "a", None)
    is_named = bool(set(found.unused) & {key, key.partition(".")[0]})
    has_effect = replace(found, unused=()) != DevConfig() or key == "sync.mode"  # whose `pattern` is the default
    assert is_named != has_effect
    assert found.said == dev


@pytest.mark.parametrize(("key", "dev"), FIELDS, ids=[key for key, _ in FIELDS])
def test_a_field_of_another_type_is_told_with_its_place(tmp_path: Path, key: str, dev: dict[str, object]) -> None:
    outer, _, inner = key.partition(".")
    value = dev[outer]
    wrong = {inner: {"x": 1}} if inner and isinstance(value, dict) else {"x": 1}
    text = "name: a\ncontainers:\n- dev: " + json.dumps({outer: wrong})
    with pytest.raises(UsageError, match=rf":3:\d+: containers\.dev\.{outer}"):
        read(written(tmp_path, text), "a", None)


def test_what_an_application_says_of_its_installation_is_named(tmp_path: Path) -> None:
    text = (
        "configProperties: {version: v2, envFile: env.dev}\napplication:\n  name: shop\n  helmValues: [a]\n"
        "  services:\n  - {name: a, priorityClass: low, containers: [{hub: {image: x}, dev: {image: go}}]}"
    )
    (tmp_path / "env.dev").touch()
    found = read(written(tmp_path, text), "a", None)
    assert found.unused == ("application.helmValues", "priorityClass", "hub")
