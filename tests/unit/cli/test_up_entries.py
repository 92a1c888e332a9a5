"""What entries of ktpy.yaml become: command lines that their own commands have read."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ktpy.cli import up_entries
from ktpy.cli.main import cli
from ktpy.daemon.settings import SettingsFile
from ktpy.errors import UsageError
from ktpy.sessions import ktpy_yaml, up
from ktpy.sessions.up import Entry

KUBECONFIG = {
    "current-context": "lab",
    "clusters": [{"name": "a", "cluster": {"server": "https://a"}}],
    "contexts": [{"name": name, "context": {"cluster": "a", "namespace": "home"}} for name in ("lab", "other")],
}
TEXT = """
namespace: shop
connect: {mode: proxy, exclude: [10.1.0.0/16], noPods: true}
exchange:
- {target: deploy/pay, expose: [3002:80, 3003:http], inMesh: false, whenLocalDown: wait}
mesh:
- {target: web.other, namespace: other, expose: ["3001"], version: "${WHO}", header: ["x=-a b"], podTimeout: 90}
preview: [{name: new, expose: [3004:80], profiles: [p]}]
tap: [{target: web, to: [3005:80], percent: 10}]
forward:
- {target: db, ports: ["5432", ":80"]}
- {all: true, context: other}
commands:
- {name: api, command: [npm start], env: [{name: PORT, value: 3001}], workingDir: api}
"""
WORDS = {
    "connect": ["--exclude=10.1.0.0/16", "--local-shortcut", "--mode=proxy", "--namespace=shop", "--no-pods"],
    "exchange-deploy-pay": [
        *("--expose=3002:80", "--expose=3003:http", "--namespace=shop", "--not-in-mesh"),
        *("--when-local-down=wait", "deploy/pay"),
    ],
    "mesh-web.other": [
        *("--expose=3001", "--header=x=-a b", "--namespace=other", "--pod-timeout=90", "--version=al"),
        "web.other",
    ],
    "preview-new": ["--expose=3004:80", "--namespace=shop", "new"],
    "tap-web": ["--namespace=shop", "--percent=10", "--to=3005:80", "web"],
    "forward-db": ["--local-shortcut", "--namespace=shop", "5432", ":80", "db"],
    "forward-all": ["--all", "--context=other", "--local-shortcut", "--namespace=shop"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))
    (tmp_path / "api").mkdir()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.chdir(tmp_path)
    up._selected.cache_clear()
    return tmp_path


def read(text: str, *profiles: str, files: tuple[SettingsFile, ...] = (), **variables: str) -> dict[str, Entry]:
    Path("ktpy.yaml").write_text(text)
    variables = {"WHO": "al", **variables}
    return {one.name: one for one in up_entries.read(cli, Path("ktpy.yaml").resolve(), profiles, variables, files)}


def test_every_entry_becomes_a_command_line(folder: Path) -> None:
    found = read(TEXT)
    api = found.pop("command-api")
    assert {name: sorted(one.words[3:]) for name, one in found.items()} == WORDS
    assert {one.words[1:3] for one in found.values()} == {("--detach", "--output=json")}
    assert [name for name, one in found.items() if not one.is_wanted] == ["preview-new"]
    assert (found["connect"].mode, str(found["connect"].target and found["connect"].target.namespace)) == (
        "proxy",
        "shop",
    )
    assert (api.words, api.folder, api.environment) == (("sh", "-c", "npm start"), folder / "api", {"PORT": "3001"})
    assert all(one.is_wanted for one in read(TEXT, "p").values())


def test_own_services_call_each_other_on_the_laptop_unless_it_is_told_otherwise(folder: Path) -> None:
    def words(text: str, *files: SettingsFile) -> list[str]:
        return [word for word in read(text, files=files)["connect"].words if "shortcut" in word]

    assert words("connect: {}") == ["--local-shortcut"]
    assert words("connect: {localShortcut: false}") == []
    assert words("connect: {}", SettingsFile(folder / ".ktpy.toml", {"connect": {"local-shortcut": False}})) == []


def test_a_digest_is_of_all_that_is_told_and_of_the_cluster_that_is_meant(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(**more: Any) -> list[str]:
        up._selected.cache_clear()
        found = read(more.pop("text", TEXT), **more)
        return [name for name, one in found.items() if one.digest != before.get(name)]

    before = {name: one.digest for name, one in read(TEXT).items()}
    assert changed() == []
    assert changed(WHO="bob") == ["mesh-web.other"]
    assert changed(text=TEXT.replace("5432", "5433")) == ["forward-db"]
    file = SettingsFile(folder / ".ktpy.toml", {"mesh": {"replicas": 2}})
    assert changed(files=(file,)) == ["mesh-web.other"]
    monkeypatch.setenv("KTPY_NO_DNS", "1")
    assert changed(text=TEXT.replace("mode: proxy", "mode: tun")) == ["connect"]
    monkeypatch.delenv("KTPY_NO_DNS")
    (folder / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG | {"current-context": "other"}))
    assert changed() == ["connect", "exchange-deploy-pay", "mesh-web.other", "preview-new", "tap-web", "forward-db"]


def test_nothing_that_is_told_is_another_text_in_another_process() -> None:
    for name, one in cli.commands.items():
        if name in up_entries.VERBS:
            words = ["web", "-e", "80", "--pull-secret", "a"] if name in ("exchange", "mesh", "preview", "tap") else []
            with one.make_context(name, words or (["web"] if name == "forward" else [])) as ctx:
                assert not re.search("set\\(| at 0x", repr(ctx.params)), name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mesh:\n- target: web", "2:11: mesh needs expose."),
        ("mesh:\n- target: web\n  expose: [x]", "3:11: expose: "),
        ("connect:\n  podTimeout: soon", "2:15: podTimeout: 'soon' is not"),
        ("forward: [{target: web, ports: [a:b]}]", "1:32: ports: 'a:b' is not [LOCAL:]PORT"),
        ("commands: [{command: [a]}]", "1:22: An entry of commands has a name."),
        ("commands: [{name: a/b, command: [a]}]", "1:19: 'a/b' is no name of a command"),
        ("commands:\n- {name: a, command: [b], workingDir: absent}", "2:39: There is no folder"),
        ("commands:\n- {name: a, command: [b], workingDir: ~nobody-here/a}", "2:39: There is no folder"),
        ("commands: [{name: a, command: [b, null]}]", "1:31: A word of the command is null."),
        ("commands: [{name: a, command: [b], env: [{value: c}]}]", "1:41: A variable has a name"),
        ("commands: [{name: a, command: [b], env: [{name: c=d}]}]", "1:41: A variable has a name"),
        ('forward: [{target: "a\\0"}]', "1:20: forward.target is 'a\\x00', not text without a null character."),
        ("forward: [{target: web}, {target: web}]", "1:35: forward-web stands there twice."),
    ],
)
def test_what_is_wrong_is_told_with_its_place(folder: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(text)
    assert refused.value.message.startswith(f"{folder / 'ktpy.yaml'}:{sentence}")


def test_the_schema_takes_it_and_describes_every_key() -> None:
    schema = up_entries.schema(cli)
    assert set(schema["properties"]) == {"dev", *ktpy_yaml.UP}
    validator = jsonschema.Draft202012Validator(schema)
    readme = (Path(__file__).parents[3] / "docs/team.md").read_text()
    [example] = [one for one in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "commands:" in one]
    for text in (TEXT, example):
        validator.validate(yaml.safe_load(text))
    assert not validator.is_valid({"mesh": [{"targt": "web"}]})
    for key, one in schema["properties"].items():
        entry = one.get("items", one)
        assert key == "dev" or all("description" in inner for inner in entry.get("properties", {}).values()), key
