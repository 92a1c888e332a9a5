import json
from pathlib import Path

import pytest

from ktpy.completion import answer as answers
from ktpy.completion.answer import answer

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


class Making:
    """Makes the grammar, and counts that."""

    count = 0

    def __call__(self) -> dict[str, object]:
        self.count += 1
        return GRAMMAR


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(answers, "offered", lambda kind, typed, given: [f"{typed}{kind}", "pod/"])
    return tmp_path / "ktpy"


def asked(
    line: str, make: Making, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str = "fish"
) -> list[str]:
    for name, value in (
        ("_KTPY_COMPLETE", f"{shell}_complete"),
        ("COMP_WORDS", line),
        ("COMP_CWORD", line.split(" ")[-1]),
    ):
        monkeypatch.setenv(name, value)
    answer(make)
    return capsys.readouterr().out.splitlines()


def test_what_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make = Making()
    lines = {
        "ktpy g": ["plain,get\tGet, it"],
        "ktpy get -": ["plain,--namespace\tIts name."],
        "ktpy get x": ["file,x"],
        "ktpy get --namespace ": ["plain,namespaces", "open,pod/"],
        "ktpy x": [],
    }
    assert {line: asked(line, make, monkeypatch, capsys) for line in lines} == lines
    assert make.count == 1, "the grammar is made once"


def test_the_grammar_is_made_anew_for_another_version_and_where_it_is_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = Making()
    asked("ktpy g", make, monkeypatch, capsys)
    [[key, [made_at, _]]] = json.loads((folder / answers.GRAMMAR_FILE).read_text()).items()
    shapes: tuple[object, ...] = ({"options": []}, [], {"options": [], "arguments": [], "commands": {"get": 1}})
    for wrong in shapes:
        (folder / answers.GRAMMAR_FILE).write_text(json.dumps({key: [made_at, wrong]}))
        assert asked("ktpy get x", make, monkeypatch, capsys) == ["file,x"]
        assert not (folder / answers.GRAMMAR_FILE).exists()
    monkeypatch.setattr("ktpy.__version__", "99")
    before = make.count
    asked("ktpy g", make, monkeypatch, capsys)
    assert make.count == before + 1


def test_no_question_no_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("ktpy g", Making(), monkeypatch, capsys, shell="zsh") == []
