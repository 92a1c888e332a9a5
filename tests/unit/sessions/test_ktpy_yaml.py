import re
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.sessions import ktpy_yaml
from ktpy.sessions.dev_config import read
from ktpy.sessions.yaml_shapes import ShapeReader

WORDS = st.sampled_from(["a", "b c", "1"])
AMOUNTS = st.dictionaries(st.sampled_from(["cpu", "memory"]), WORDS, min_size=1)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("workload", "container", "image", "shell", "workingDir"), WORDS),
        "resources": st.dictionaries(st.sampled_from(["limits", "requests"]), AMOUNTS, min_size=1),
        "env": st.lists(st.fixed_dictionaries({"name": WORDS, "value": WORDS}), min_size=1, max_size=2),
        "run": st.lists(WORDS, min_size=1, max_size=3),
        "sync": st.fixed_dictionaries(
            {},
            optional={
                "oneWay": st.just(True),
                "deleteProtection": st.just(True),
                "ignore": st.lists(WORDS, min_size=1),
            },
        ),
    },
)


REPOSITORY = Path(__file__).parents[3]
VALIDATOR = jsonschema.Draft202012Validator(ktpy_yaml.json_schema({}, {}))


def reread(entry: dict[str, Any]) -> dict[str, Any]:
    reader = ShapeReader("ktpy.yaml")
    [found] = reader.value(yaml.compose(yaml.safe_dump({"dev": [entry]})), ktpy_yaml.SHAPE)["dev"]
    said, places = ktpy_yaml.translated(found, reader)
    written: dict[str, Any] = {}
    for key, value in ktpy_yaml.entry_of(said).items():
        ktpy_yaml.put(written, key, value)
        assert places[ktpy_yaml.NOCALHOSTS[key]].startswith("ktpy.yaml:")
    return written


@settings(deadline=None, max_examples=40)
@given(ENTRIES)
def test_an_entry_is_the_same_in_nocalhosts_words_and_back(entry: dict[str, Any]) -> None:
    VALIDATOR.validate({"dev": [entry]})
    meant = {key: value for key, value in entry.items() if value and key not in ("workload", "container")}
    assert reread(entry) == meant


def test_two_way_is_the_default() -> None:
    assert ktpy_yaml.entry_of({"sync": {"type": "sendReceive"}, "command": None}) == {}
    assert ktpy_yaml.entry_of({"sync": {"type": "sendonly"}}) == {"sync.oneWay": True}


def test_every_key_is_described() -> None:
    [entry] = [ktpy_yaml.json_schema({}, {})["properties"]["dev"]["items"]]
    for name, one in entry["properties"].items():
        inner = one.get("properties", {}).values()
        assert "description" in one or (inner and all("description" in each for each in inner)), name


def test_the_examples_of_the_documentation_are_valid(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/dev.md").read_text()
    examples = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "dev:" in one]
    for example in examples:
        (tmp_path / "dev.env").touch()
        VALIDATOR.validate(yaml.safe_load(example))
        (tmp_path / "ktpy.yaml").write_text(example)
        found = read(tmp_path / "ktpy.yaml", "web", None)
        assert set(ktpy_yaml.entry_of(found.said)) == set(ktpy_yaml.NOCALHOSTS), "every key is shown"
    assert len(examples) == 1
