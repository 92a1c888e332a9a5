import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon import settings
from ktpy.errors import RegistryRefused
from ktpy.sessions import image
from ktpy.sessions.image import Pushed


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return settings.users()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a push was asked for; the real one is tests/component/image."""
    asked: dict[str, Any] = {}

    def push(text: str, file: Path, **options: Any) -> Pushed:
        asked.update(text=text, file=file, **options)
        options["tell"]("a layer is sent")
        if "refused" in text:
            raise RegistryRefused("No.", hint="Ask.")
        return Pushed(f"{text}:1", "sha256:1", "linux/amd64")

    monkeypatch.setattr(image, "push", push)
    return asked


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["image", *arguments])


def test_push_makes_it_the_default_of_image(asked: dict[str, Any], own: Path) -> None:
    done = run("push", "r.org/a", "--archive", "f.tar", "--ca", "ca.crt")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "r.org/a:1 is in the registry: sha256:1, for linux/amd64.",
        f"It is the default of --image from now on: {own}",
    ]
    assert done.stderr == "  a layer is sent\n"
    assert own.read_text() == 'image = "r.org/a:1"\n'
    assert (asked["file"], asked["authority"], asked["plain_http"]) == (Path("f.tar"), Path("ca.crt"), False)


def test_json_without_remembering(asked: dict[str, Any], own: Path) -> None:
    done = run("push", "r.org/a", "--archive", "f.tar", "--plain-http", "--no-remember", "-o", "json")
    assert json.loads(done.stdout) == {
        "schema": 1,
        "image": "r.org/a:1",
        "digest": "sha256:1",
        "platform": "linux/amd64",
        "is_default": False,
    }
    assert not own.exists()
    assert asked["plain_http"]


def test_a_refusal_leaves_nothing_behind(asked: dict[str, Any], own: Path) -> None:
    done = run("push", "r.org/refused", "--archive", "f.tar")
    assert (done.exit_code, own.exists()) == (67, False)
    assert "error: No.\nhint: Ask." in done.stderr
