import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli.main import cli
from ktpy.daemon import settings
from ktpy.errors import RegistryRefused
from ktpy.sessions import image
from ktpy.sessions.image import Brought, LocalCluster, Source
from ktpy.sessions.options import DEFAULT_IMAGE


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return settings.users()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was asked for; the real ones are in tests/component/image and tests/component/cli/test_image.py."""
    asked: dict[str, Any] = {}

    def push(text: str, source: Source, **options: Any) -> Brought:
        asked.update(source=source, **options)
        source.tell("a layer is sent")
        if "refused" in text:
            raise RegistryRefused("No.", hint="Ask.")
        return Brought(f"{text}:1", "linux/amd64", "sha256:1")

    def load(source: Source, cluster: LocalCluster | None, *place: str | None) -> Brought:
        asked.update(source=source, cluster=cluster, place=place)
        return Brought(DEFAULT_IMAGE, "linux/amd64", "", "kind two")

    monkeypatch.setattr(image, "push", push)
    monkeypatch.setattr(image, "load", load)
    return asked


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["image", *arguments])


def test_push_makes_it_the_default_of_image_and_load_that_of_ktpy_again(
    asked: dict[str, Any], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("push", "r.org/a", "--ca", "ca.crt", "--builder", "podman", "--arch", "arm64")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "r.org/a:1 for linux/amd64: its registry has it: sha256:1.",
        f"It is the default of --image from now on: {own}",
    ]
    assert done.stderr == "  a layer is sent\n"
    assert own.read_text() == 'image = "r.org/a:1"\n'
    assert (asked["authority"], asked["plain_http"]) == (Path("ca.crt"), False)
    source = asked["source"]
    assert (source.archive, source.builder, source.architecture, source.rebuild) == (None, "podman", "arm64", False)
    assert run("push", "r.org/a").stdout.count("\n") == 1
    monkeypatch.setenv("KTPY_IMAGE", "r.org/b:1")
    assert run("push", "r.org/a").stdout.endswith("KTPY_IMAGE names another, r.org/b:1, which goes before it.\n")
    done = run("load", "--context", "c")
    assert done.stdout.splitlines()[0] == f"{DEFAULT_IMAGE} for linux/amd64: kind two has it."
    assert (own.read_text(), asked["cluster"], asked["place"]) == ("", None, (None, "c"))


def test_json_without_remembering(asked: dict[str, Any], own: Path) -> None:
    done = run("push", "r.org/a", "--archive", "f.tar", "--plain-http", "--no-remember", "-o", "json")
    told = {"image": "r.org/a:1", "platform": "linux/amd64", "digest": "sha256:1", "cluster": "", "is_default": False}
    assert json.loads(done.stdout) == {"schema": 1, **told}
    assert not own.exists()
    assert asked["plain_http"]
    assert asked["source"].archive == Path("f.tar")


@pytest.mark.parametrize(
    ("options", "kind", "name"),
    [
        (["--kind", "a"], "kind", "a"),
        (["--k3d", "b"], "k3d", "b"),
        (["--minikube"], "minikube", "minikube"),
        (["--minikube", "c"], "minikube", "c"),
        (["--microk8s"], "microk8s", ""),
        (["--containerd"], "containerd", ""),
        (["--containerd", "/run/x"], "containerd", "/run/x"),
    ],
)
def test_clusters_that_are_named(asked: dict[str, Any], options: list[str], kind: str, name: str) -> None:
    assert run("load", *options).exit_code == 0
    assert asked["cluster"] == LocalCluster(kind, name)


def test_what_does_not_go_together(asked: dict[str, Any]) -> None:
    assert "--kind and --microk8s are two clusters: name one." in run("load", "--kind", "a", "--microk8s").stderr
    assert "--archive is an image that was built" in run("load", "--archive", "f", "--rebuild").stderr
    assert not asked


def test_a_refusal_leaves_nothing_behind(asked: dict[str, Any], own: Path) -> None:
    done = run("push", "r.org/refused")
    assert (done.exit_code, own.exists()) == (67, False)
    assert "error: No.\nhint: Ask." in done.stderr
