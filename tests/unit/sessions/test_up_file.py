"""What ktpy.yaml says of what `ktpy up` begins, and how what is wrong with it is told."""

from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import UsageError
from ktpy.sessions.up_file import COMMANDS, PROFILES, FileEntry, read, select
from ktpy.sessions.yaml_shapes import SWITCH, TEXT

MESH = {"target": TEXT, "namespace": TEXT, "expose": (TEXT,), "inMesh": SWITCH, **PROFILES}
SHAPES: dict[str, Any] = {"connect": {"namespace": TEXT, "context": TEXT, **PROFILES}, "mesh": (MESH,), **COMMANDS}


class File:
    """A ktpy.yaml."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, text: str, **variables: str) -> list[FileEntry]:
        self.path.write_text(text)
        return read(self.path, SHAPES, variables)

    def refusal(self, text: str, **variables: str) -> tuple[str, str | None]:
        """The sentence without the file's name, and the hint."""
        with pytest.raises(UsageError) as refused:
            self.read(text, **variables)
        return refused.value.message.removeprefix(f"{self.path}:"), refused.value.hint


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "ktpy.yaml")


def test_entries_in_order_with_what_all_of_them_have(file: File) -> None:
    connect, web, pay = file.read(
        """
dev: [{workload: "${UNSET}"}]
namespace: shop
context: ${USER}
mesh:
- {target: web, expose: [3001:30, "80"], profiles: [a, b]}
- target: pay
  namespace: other
  inMesh: ${IN_MESH}
  expose: []
connect:
""",
        USER="al",
        IN_MESH="false",
    )
    assert (connect.kind, connect.values, connect.profiles) == ("connect", {"namespace": "shop", "context": "al"}, ())
    assert web.values == {"namespace": "shop", "target": "web", "expose": ["3001:30", "80"]}
    assert web.profiles == ("a", "b")
    assert (pay.values, pay.place_of("namespace")) == (
        {"namespace": "other", "target": "pay", "inMesh": False},
        f"{file.path}:8:14",
    )
    assert pay.place_of(None) == f"{file.path}:7:11"
    assert file.read("") == file.read("mesh:\n") == []


def test_variables(file: File) -> None:
    text = "mesh: [{target: 'a-${A:-x}${B}', namespace: '$${A} $$ $A', expose: &e ['${A}'], profiles: *e}]"
    [found] = file.read(text, A="${A}: [", B="b")
    assert found.values == {"target": "a-${A}: [b", "namespace": "${A} $$ $A", "expose": ["${A}: ["]}
    assert found.profiles == ("${A}: [",)
    sentence, hint = file.refusal("mesh:\n- target: ${WHO}\n")
    assert sentence == "2:11: The variable WHO is not set."
    assert "${WHO:-VALUE}" in str(hint)
    assert file.read("mesh: [{target: '${WHO:-me}'}]", WHO="")[0].values == {"target": "me"}


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        ("mesh:\n- expos: [3]", "2:3: mesh has no key expos.", "expose is meant?"),
        ("mish: []", "1:1: The file has no key mish.", "mesh is meant?"),
        ("mesh:\n- expose: 80", "2:11: mesh.expose is 80, not a list.", None),
        ("mesh:\n- inMesh: 'yes'", "2:11: mesh.inMesh is 'yes', not true or false.", None),
        ("connect: [a]", "1:10: connect is a list, not a map of keys.", None),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_what_is_meant(
    file: File, text: str, sentence: str, hint: str | None
) -> None:
    assert file.refusal(text) == (sentence, hint)


def test_no_file_and_no_yaml(file: File) -> None:
    assert "cannot be read" in file.refusal("a: [")[0]
    assert "nested" in file.refusal("connect: " + "[" * 600 + "]" * 600)[0]
    with pytest.raises(UsageError, match="There is no"):
        read(file.path.with_name("absent"), SHAPES, {})


def test_profiles(file: File) -> None:
    entries = file.read("connect: {}\nmesh: [{target: a, profiles: [x]}, {target: b, profiles: [x, y]}]")
    chosen = {profiles: [one.values.get("target") for one in select(entries, profiles)] for profiles in ((), ("y",))}
    assert chosen == {(): [None], ("y",): [None, "b"]}
    with pytest.raises(UsageError) as refused:
        select(entries, ["yy"])
    assert (refused.value.message, refused.value.hint) == ("No entry has the profile yy.", "y is meant?")
