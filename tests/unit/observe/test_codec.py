import json
from dataclasses import dataclass

from ktpy.observe.codec import from_json, to_json


@dataclass(frozen=True, slots=True)
class Leaf:
    in_: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    leaves: tuple[Leaf, ...]
    best: Leaf | None = None
    names: tuple[str, ...] = ()


def test_a_keyword_is_a_key() -> None:
    assert to_json(Leaf(1)) == {"in": 1, "name": None}


def test_nested_values_survive() -> None:
    tree = Tree((Leaf(1), Leaf(2, "b")), Leaf(3), ("x", "y"))
    assert from_json(Tree, json.loads(json.dumps(to_json(tree)))) == tree


def test_an_absent_key_has_its_default_and_an_unknown_one_is_skipped() -> None:
    assert from_json(Tree, {"leaves": [], "roots": 1}) == Tree(())
