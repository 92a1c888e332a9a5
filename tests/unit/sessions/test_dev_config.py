import json
from dataclasses import replace
from pathlib import Path

import pytest

from ktpy.errors import UsageError
from ktpy.observe.events import Event
from ktpy.sessions.dev_config import DevConfig, read
from ktpy.sessions.options import DevPatch

FULL = """
name: catalog
serviceType: deployment
containers:
  - name: other
    dev: {image: wrong}
  - name: catalog
    install: {env: [{name: A, value: b}]}
    dev:
      gitUrl: git@example.test:shop/catalog.git
      image: golang:1.24
      shell: zsh
      workDir: /home/dev
      storageClass: ""
      resources: {limits: {memory: 4096Mi, cpu: "2"}, requests: null}
      persistentVolumeDirs: [{path: /go, capacity: 5Gi}]
      command: {build: [go, build], run: [go, run, main.go], debug: [dlv debug]}
      debug: {language: go, remoteDebugPort: 5200}
      hotReload: false
      sync: {type: send, mode: pattern, deleteProtection: true, filePattern: ["."], ignoreFilePattern: [.git, dist]}
      env: [{name: foo, value: bar}, {name: number, value: 1}]
      patches: [null, {patch: '{"spec": {"paused": false}}'}]
      portForward: ["3200:4200", "", ":8080"]
"""


def untold(event: Event) -> None:
    raise AssertionError(event)


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_every_field(tmp_path: Path) -> None:
    assert read(written(tmp_path, FULL), "catalog", "catalog") == DevConfig(
        "",
        "golang:1.24",
        "zsh",
        "/home/dev",
        {"limits": {"memory": "4096Mi", "cpu": "2"}},
        (("foo", "bar"), ("number", "1")),
        ("go", "run", "main.go"),
        ("go", "build"),
        ("sh", "-c", "dlv debug"),
        5200,
        "go",
        is_two_way=False,
        is_delete_protected=True,
        ignore=(".git", "dist"),
        forward=("3200:4200", ":8080"),
        unused=("install", "gitUrl"),
        persist=("/go:5Gi",),
        patches=(DevPatch("strategic", {"spec": {"paused": False}}, f"patch 2 of {tmp_path}/config.yaml:22:31"),),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "name: another",
        "name: catalog\ncontainers: [null]",
        "name: catalog\ncontainers: [{dev: {env: [null], command: {run: [null]}, resources: {limits: null}}}]",
        "name: catalog",
        "name: catalog\ncontainers: [{dev: null}]",
        "  name: catalog\n  containers: [{name: '', dev: {image: '', sync: null, resources: null, hotReload: null}}]",
    ],
)
def test_what_says_nothing(tmp_path: Path, text: str) -> None:
    assert read(written(tmp_path, text), "catalog", None) == DevConfig()


def test_one_script(tmp_path: Path) -> None:
    text = "name: catalog\ncontainers: [{dev: {command: {run: [./run.sh]}}}]"
    assert read(written(tmp_path, text), "catalog", None).run == ("sh", "-c", "./run.sh")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("name: a\ncontainers:\n- dev: {imagee: x}", r":3:9: containers\.dev has no key imagee", "image is meant?"),
        ("name: a\ncontainers: {}", r":2:13: containers is a map of keys, not a list", None),
        (
            "name: a\ncontainers:\n- dev:\n    hotReload: yes please",
            r":4:16: .*hotReload is 'yes please', not true or false",
            None,
        ),
        ("- a", r":1:3: the file is 'a', not a map of keys", None),
        ("name: &a [*a]", r":1:7: name is a list, not text", None),
        ("name: a\nname: b", r":2:1: The file has name twice", None),
        (
            "name: a\ncontainers: [{dev: {sync: {type: sendrecieve}}}]",
            r":2:34: containers.dev.sync.type is sendrecieve, not one of send, sendReceive, sendonly",
            "sendReceive is meant?",
        ),
        ("dev: [{workload: a, workingdir: x}]", r":1:21: dev has no key workingdir", "workingDir is meant?"),
        ("dev: [{workload: A/b/c}]", r":1:18: 'A/b/c' is not NAME", None),
        ("dev: [{sync: {oneWay: 1}}]", r":1:23: dev.sync.oneWay is 1, not true or false", None),
        ("containers: &a [*a]", r"within itself|not a map", None),
        ("name: [", r"cannot be read: while parsing", None),
        (
            "svcConfigs: []",
            r":1:1: the file is of Nocalhost's version 1",
            "A file of one workload begins with its `name`.",
        ),
    ],
)
def test_what_cannot_be_understood(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        read(written(tmp_path, text), "a", None)
    assert refused.value.hint == hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "none", "a", None)


def test_an_image_that_makes_sense_with_a_variable_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "private")
    file = written(tmp_path, "name: web\ncontainers: [{dev: {command: {run: [${MINE}, a]}, image: go}}]")
    assert read(file, "web", None).is_image_of_variables


OWN = """
dev:
  - workload: statefulset/catalog
    image: other
  - workload: catalog
    container: catalog
    image: golang:1.24
    shell: zsh
    workingDir: /home/dev
    resources: {limits: {memory: 4096Mi, cpu: "2"}}
    env: [{name: foo, value: bar}, {name: number, value: 1}]
    run: [go, run, main.go]
    build: [go, build]
    debug: {language: go, command: ["dlv debug"], port: 5200}
    reload: false
    forward: ["3200:4200", ":8080"]
    reverse: ["5432"]
    persist: [{path: /go, capacity: 5Gi}]
    sync: {oneWay: true, deleteProtection: true, initial: newer, ignore: [.git, dist]}
"""


def test_our_own_words_mean_the_same(tmp_path: Path) -> None:
    theirs = read(written(tmp_path, FULL), "catalog", "catalog")
    own = read(written(tmp_path, OWN), "deployment/catalog", None)
    same = replace(theirs, container="catalog", unused=(), patches=())
    assert own == replace(same, reverse=("5432",), initial="newer")
    assert own.places["sync.type"] == f"{tmp_path}/config.yaml:19:20"
    assert read(written(tmp_path, OWN), "sts/catalog", None).image == "other"
    assert read(written(tmp_path, OWN), "web", None) == DevConfig()
    assert read(written(tmp_path, "dev: [{image: any}]"), "web", None).image == "any"


def test_files_of_variables_are_those_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINE", "TAG", "REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    (folder := tmp_path / "shop/.nocalhost").mkdir(parents=True)
    (folder / "env.dev").write_text("TAG=2\nREGISTRY=x.test\n")
    (tmp_path / "shop/dev.env").write_text("# of all\nMINE=a b=c\nfoo=less\n")
    text = (
        "configProperties: {version: v2, envFile: env.dev}\napplication:\n  services:\n  - name: a\n    containers:\n"
        '    - dev: {image: "${REGISTRY}/go:${TAG}", env: [{name: foo, value: bar}], envFrom: {envFile: [{path: F}]}}'
    )
    found = read(written(folder, text.replace("path: F", "path: dev.env")), "a", None)
    assert (found.image, dict(found.env)) == ("x.test/go:2", {"MINE": "a b=c", "foo": "bar"})
    assert found.is_image_of_variables is False
    monkeypatch.setenv("TAG", "private")
    assert read(folder / "config.yaml", "a", None).is_image_of_variables
    (tmp_path / "shop/wrong.env").write_text("no pair")
    (tmp_path / "shop/out.env").symlink_to(tmp_path / "secret")
    for file, why in (
        ("none.env", "cannot be read: No such file"),
        ("../secret", "is not in the folder"),
        ("out.env", "is not in the folder"),
        ("/etc/passwd", "is not in the folder"),
        ("wrong.env", "'no pair' is not NAME=VALUE"),
    ):
        with pytest.raises(UsageError, match=rf"config.yaml:6:\d+: envFile: .*{why}"):
            read(written(folder, text.replace("path: F", f"path: {file}")), "a", None)


def test_what_alone_is_synchronized(tmp_path: Path) -> None:
    def ignored(*patterns: str, mode: str = "pattern") -> tuple[tuple[str, ...], tuple[str, ...]]:
        sync = {"mode": mode, "filePattern": patterns}
        found = read(written(tmp_path, json.dumps({"name": "a", "containers": [{"dev": {"sync": sync}}]})), "a", None)
        return found.ignore, found.unused

    main = ("/*", "!/go.mod", "!/src", "/src/*", "!/src/main", "!/src/test")
    assert ignored("./src/main/", "src/test", "go.mod", "src/main/deep") == (main, ())
    for everything in ((), (".",), ("./", "src")):
        assert ignored(*everything) == ((), ())
    for strange in ("**/*.go", "../other", "src "):
        assert ignored("src", strange) == ((), ("sync.filePattern",))
    assert ignored("src", mode="gitIgnore") == ((), ("sync.filePattern",))


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"patch": "{"}, "patch 1 of .*:1:.* cannot be read"),
        ({"patch": "[]"}, "patch 1 of .* is not a map of keys, as type strategic is"),
        ({"type": "json", "patch": {}}, None),
        ({"type": "json", "patch": {"a": 1}}, "patch 1 of .* is not a list of steps, as type json is"),
        ({"type": "strategi", "patch": "{}"}, "strategi, not one of json, merge, strategic"),
    ],
)
def test_a_patch_of_another_type_is_told(tmp_path: Path, patch: dict[str, object], message: str | None) -> None:
    file = written(tmp_path, json.dumps({"name": "a", "containers": [{"dev": {"patches": [patch]}}]}))
    if message is None:
        assert read(file, "a", None).patches == ()
        return
    with pytest.raises(UsageError, match=message):
        read(file, "a", None)
