from pathlib import Path
from typing import Any

import pytest
import yaml

from ktpy.observe.events import Event, Notice
from ktpy.sessions import dev_config_shown
from ktpy.sessions.options import DevOptions

NOCALHOSTS = """
name: web
containers:
  - name: app
    dev:
      image: golang:1.24
      gitUrl: a
      command: {run: [go, run, .]}
      sync: {type: send, ignoreFilePattern: [dist]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dev_config_shown, "texts", lambda _: ())
    (tmp_path / ".nocalhost").mkdir()
    (tmp_path / ".nocalhost/config.yaml").write_text(NOCALHOSTS)
    return tmp_path


def shown(target: str) -> tuple[dict[str, Any], list[Event]]:
    told: list[Event] = []
    return dev_config_shown.shown(DevOptions(target), told.append), told


@pytest.mark.usefixtures("folder")
def test_each_value_has_its_place() -> None:
    found, [notice] = shown("web")
    said = {one["key"]: (one["value"], one["place"]) for one in found["values"] if one["place"]}
    assert said == {
        "image": ("golang:1.24", ".nocalhost/config.yaml:6:14"),
        "run": (["go", "run", "."], ".nocalhost/config.yaml:8:22"),
        "sync.oneWay": (True, ".nocalhost/config.yaml:9:20"),
        "sync.ignore": (["dist"], ".nocalhost/config.yaml:9:45"),
    }
    assert (found["container"], found["unused"]) == ("app", ["gitUrl"])
    assert isinstance(notice, Notice)
    assert list(dev_config_shown.lines(found))[:3] == [
        "web: .nocalhost/config.yaml",
        '  image                 .nocalhost/config.yaml:6:14: "golang:1.24"',
        "  shell                 by default bash, or else sh",
    ]


def test_what_it_writes_says_the_same(folder: Path) -> None:
    before, _ = shown("web")
    (folder / "ktpy.yaml").write_text(dev_config_shown.as_yaml(before))
    after, told = shown("web")
    assert told == []
    assert [(one["key"], one["value"]) for one in after["values"]] == [
        (one["key"], one["value"]) for one in before["values"]
    ]
    assert yaml.safe_load((folder / "ktpy.yaml").read_text())["dev"][0]["sync"] == {"oneWay": True, "ignore": ["dist"]}


@pytest.mark.usefixtures("folder")
def test_a_workload_of_which_nothing_is_said() -> None:
    found, _ = shown("db")
    assert found["source"] is None
    assert next(dev_config_shown.lines(found)) == "db: no configuration says anything of it"
    assert {one["place"] for one in found["values"]} == {None}
