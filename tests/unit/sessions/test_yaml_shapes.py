import json
import re
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.errors import UsageError
from ktpy.sessions.yaml_shapes import ANYTHING, NUMBER, SWITCH, TEXT, ShapeReader, schema

SHAPE: dict[str, Any] = {
    "text": TEXT,
    "number": NUMBER,
    "switch": SWITCH,
    "anything": ANYTHING,
    "word": frozenset(("send", "sendReceive")),
    "list": ({"name": TEXT},),
}
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "send", "a", "1", "yes", "null", "2001-01-01"])
)
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False).filter(lambda one: not one.is_integer()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*SHAPE, "name"]), inner, max_size=2),
    max_leaves=4,
)


def read(text: str, shape: Any = SHAPE) -> Any:
    return ShapeReader("x.yaml").value(yaml.compose(text), shape)


def is_read(value: Any, shape: Any) -> bool:
    try:
        read(yaml.safe_dump(value), shape)
    except UsageError:
        return False
    return True


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from([*SHAPE, "other"]), VALUES, max_size=3))
def test_reader_and_schema_agree(value: dict[str, Any]) -> None:
    assert is_read(value, SHAPE) == jsonschema.Draft202012Validator(schema(SHAPE, {})).is_valid(value)


def test_places_are_known() -> None:
    reader = ShapeReader("x.yaml")
    found = reader.value(yaml.compose("text: a\nlist:\n- {name: b}"), SHAPE)
    assert reader.places(found) == {"text": "x.yaml:1:7", "list": "x.yaml:3:1"}
    assert reader.places(found["list"][0]) == {"name": "x.yaml:3:10"}
    assert reader.places({}) == {}


def test_what_is_merged_holds_where_a_map_does_not_say_it_itself() -> None:
    team = "list:\n- &a {name: a, value: 1}\n- &b {<<: *a, name: b}\n- {<<: [*b, *a], value: 2}\n- {name: d, <<: *b}"
    shape: Any = {"list": ({"name": TEXT, "value": TEXT},)}
    said = [("a", "1"), ("b", "1"), ("b", "2"), ("d", "1")]
    assert read(team, shape) == {"list": [{"name": name, "value": value} for name, value in said]}
    for wrong, sentence in (
        ("text: a\n<<: [b]", "x.yaml:2:6: << is 'b', not a map of keys, or a list of such maps."),
        ("list: [{name: a, <<: {nam: b}}]", "x.yaml:1:23: list has no key nam."),
        ("<<: {}\n<<: {}", "x.yaml:2:1: The file has << twice."),
    ):
        with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
            read(wrong)


def test_what_is_said_of_keys() -> None:
    found = schema({"a": (TEXT,)}, {"a": "Words."})
    assert json.loads(json.dumps(found))["properties"]["a"]["description"] == "Words."


def test_the_hint_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"x\.yaml:1:1: The file has no key q\.") as refused:
        read("q: 1", {"b": TEXT, "a": TEXT})
    assert refused.value.hint == "Known are: a, b."
