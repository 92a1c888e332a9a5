import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ktpy.completion import answer as answers
from ktpy.completion.answer import answer
from ktpy.daemon.settings import PROJECT
from ktpy.errors import UsageError

OPTION = {"flags": ["--namespace"], "name": "namespace", "env": None, "help": "Its name.", "repeats": False}
PARAMETERS = {
    "options": [OPTION | {"completes": "namespaces"}],
    "arguments": [{"name": "a", "repeats": False, "completes": "file"}],
}
GRAMMAR: dict[str, object] = {
    "help": "",
    "options": [],
    "arguments": [],
    "commands": {"get": PARAMETERS | {"help": "Get, it", "commands": {}}},
}


class Commands:
    """The commands that are loaded, and how often they are."""

    count = 0
    namespace = "shop"

    def __call__(self) -> "Commands":
        self.count += 1
        return self

    def grammar(self) -> dict[str, object]:
        return GRAMMAR

    def defaults(self, path: Sequence[str]) -> dict[str, str]:
        assert path == ("get",)
        if not self.namespace:
            raise UsageError("The file is wrong.")
        return {"namespace": self.namespace}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(answers, "offered", lambda kind, _, given: [f"{kind}-{given.get('namespace')}", "pod/"])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "project/inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project/inner")
    return tmp_path / "ktpy"


def asked(
    line: str,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shell: str = "fish",
) -> list[str]:
    for name, value in (
        ("_KTPY_COMPLETE", f"{shell}_complete"),
        ("COMP_WORDS", line),
        ("COMP_CWORD", line.split(" ")[-1]),
    ):
        monkeypatch.setenv(name, value)
    answer(commands)
    return capsys.readouterr().out.splitlines()


def test_what_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    commands = Commands()
    lines = {
        "ktpy g": ["plain,get\tGet, it"],
        "ktpy get -": ["plain,--namespace\tIts name."],
        "ktpy get x": ["file,x"],
        "ktpy get --namespace ": ["plain,namespaces-None", "open,pod/"],
        "ktpy x": [],
    }
    assert {line: asked(line, commands, monkeypatch, capsys) for line in lines} == lines
    assert commands.count == 1, "the grammar is made once"


def test_the_grammar_is_made_anew_for_another_version_and_where_it_is_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands()
    asked("ktpy g", commands, monkeypatch, capsys)
    [[key, [made_at, _]]] = json.loads((folder / answers._GRAMMAR_FILE).read_text()).items()
    shapes: tuple[object, ...] = (
        {"options": []},
        [],
        {"options": [], "arguments": [], "commands": {"get": 1}},
        {
            "options": [],
            "arguments": [],
            "commands": {"get": {"options": [], "commands": {}, "arguments": [{"name": "a", "completes": 1}]}},
        },
    )
    for wrong in shapes:
        (folder / answers._GRAMMAR_FILE).write_text(json.dumps({key: [made_at, wrong]}))
        assert asked("ktpy get x", commands, monkeypatch, capsys) == ["file,x"]
        assert json.loads((folder / answers._GRAMMAR_FILE).read_text())[key][1] == GRAMMAR
    monkeypatch.setattr("ktpy.__version__", "99")
    before = commands.count
    asked("ktpy g", commands, monkeypatch, capsys)
    assert commands.count == before + 1


def test_files_with_defaults_are_heeded_and_read_again_only_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands()

    def offered(line: str = "ktpy get --namespace ") -> tuple[str, int]:
        return asked(line, commands, monkeypatch, capsys)[0], commands.count

    assert offered() == ("plain,namespaces-None", 1)
    (tmp_path / "project" / PROJECT).write_text("")
    assert (offered(), offered()) == (("plain,namespaces-shop", 2), ("plain,namespaces-shop", 2))
    (tmp_path / "config/ktpy").mkdir(parents=True)
    (tmp_path / "config/ktpy/config.toml").write_text("")
    kept = tmp_path / "ktpy" / answers._DEFAULTS_FILE
    kept.write_text(json.dumps({key: [made_at, 5] for key, (made_at, _) in json.loads(kept.read_text()).items()}))
    commands.namespace = ""
    assert (offered(), offered()) == (("plain,namespaces-None", 3), ("plain,namespaces-None", 3))
    assert offered("ktpy get --namespace x --namespace ")[0] == "plain,namespaces-x"


def test_no_question_no_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("ktpy g", Commands(), monkeypatch, capsys, shell="zsh") == []
