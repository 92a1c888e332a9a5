"""What `ktpy dev` asks its use cases for, and says."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from ktpy.cluster.service.ports import ExposeOption
from ktpy.daemon.caller import Caller
from ktpy.observe.codec import to_json
from ktpy.observe.status import SyncStatus
from ktpy.sessions import dev, dev_once
from ktpy.sessions.options import DevOptions, PersistentDir, Publish, SyncFolder

SESSION = {
    "workload": "deployment/web",
    "mode": "duplicate",
    "container": "web",
    "owner": "al@x",
    "session": "a",
    "is_live": True,
    "since": "2030-01-01T12:00:00Z",
}

IN_STEP: dict[str, Any] = to_json(SyncStatus("/src", "/home/dev", state="in step", entries=1)) | {"problems": []}


@pytest.fixture(autouse=True)
def as_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", tmp_path))


def test_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DevOptions] = []

    def run(options: DevOptions, *_: Any) -> int:
        asked.append(options)
        return 7

    monkeypatch.setattr(dev, "run", run)
    arguments = [
        "start",
        "web.shop",
        "--mode",
        "duplicate",
        "-c",
        "app",
        "--image",
        "golang:1.24",
        "--",
        "go",
        "run",
        ".",
    ]
    assert CliRunner().invoke(cli, ["dev", *arguments]).exit_code == 7
    [found] = asked
    assert (found.target, found.namespace, found.mode, found.container) == ("web", "shop", "duplicate", "app")
    assert (found.image, found.command) == ("golang:1.24", ("go", "run", "."))


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (("--sync", "."), SyncFolder(".", "")),
        (
            ("--sync", ".:/src/", "--one-way", "--initial", "newer"),
            SyncFolder(".", "/src", is_two_way=False, initial="newer"),
        ),
    ],
)
def test_a_folder_that_is_kept_alike(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], folder: SyncFolder
) -> None:
    asked: list[DevOptions] = []

    def run(options: DevOptions, *_: Any) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(dev, "run", run)
    assert CliRunner().invoke(cli, ["dev", "start", "web", *arguments]).exit_code == 0
    assert [one.sync for one in asked] == [folder]


def test_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DevOptions] = []

    def run(options: DevOptions, *_: Any) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(dev, "run", run)
    words = ("--forward", "8081:80", "--forward", ":9000", "--reverse", "5432:15432", "--reverse", "6379")
    assert CliRunner().invoke(cli, ["dev", "start", "web", *words]).exit_code == 0
    [found] = asked
    assert found.forward == (Publish(8081, 80), Publish(0, 9000))
    assert found.reverse == (Publish(15432, 5432), Publish(6379, 6379))


def test_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DevOptions] = []

    def run(options: DevOptions, *_: Any) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(dev, "run", run)
    words = ("--mode", "duplicate", "--expose", "8080:80", "--version", "al", "--header", "tenant=a")
    assert CliRunner().invoke(cli, ["dev", "start", "web", *words]).exit_code == 0
    [found] = asked
    assert found.expose == (ExposeOption(8080, "80", protocol="TCP"),)
    assert str(found.match) == "VERSION: al and tenant: a"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mode", "duplicate", "--expose", "80"),
        ("--mode", "duplicate", "--version", "al"),
        ("--expose", "80", "--version", "al"),
        ("--mode", "duplicate", "--expose", "http", "--version", "al"),
        ("--sync", "nowhere"),
        ("--sync", ".:src"),
        ("--one-way",),
        ("--initial", "laptop"),
        ("--sync", ".", "--initial", "mine"),
        ("--reload",),
        ("--forward", "0"),
        ("--forward", "::80"),
        ("--reverse", ":80"),
    ],
)
def test_what_no_start_understands(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli, ["dev", "start", "web", *arguments]).exit_code == 2


def test_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {
        "namespace": "shop",
        "context": "lab",
        "sessions": [{**SESSION, "sync": None}, {**SESSION, "is_live": False, "sync": None}],
    }
    monkeypatch.setattr(dev_once, "sessions", lambda *_: found)
    assert CliRunner().invoke(cli, ["dev", "list"]).output.splitlines() == [
        "deployment/web (web): developed by al@x beside it, since 2030-01-01T12:00:00Z",
        "deployment/web (web): developed by al@x beside it, dead; ktpy clean gives it back",
    ]
    assert json.loads(CliRunner().invoke(cli, ["dev", "list", "-o", "json"]).output)["sessions"] == found["sessions"]
    found["sessions"] = [{**SESSION, "sync": IN_STEP}]
    assert CliRunner().invoke(cli, ["dev", "status", "web"]).output.splitlines()[1] == (
        "  sync      /src and /home/dev: in step"
    )
    found["sessions"] = []
    assert CliRunner().invoke(cli, ["dev", "list"]).output == "Nobody develops anything in namespace shop.\n"
    assert CliRunner().invoke(cli, ["dev", "status", "web"]).output == "Nobody develops web in namespace shop.\n"


def test_being_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        {"workload": "deployment/web", "session": "a", "sync": one} for one in ({**IN_STEP, "state": "cut"}, IN_STEP)
    ]
    monkeypatch.setattr(dev_once, "catch_up", lambda *_: iter(told))
    done = CliRunner().invoke(cli, ["dev", "sync", "web"])
    assert (done.exit_code, done.stderr) == (0, "The link is lost; it goes on when that is back.\n")
    assert done.stdout.splitlines()[0] == "  sync      /src and /home/dev: in step"
    told[1]["sync"] = held_back = {**IN_STEP, "problems": [{"path": "a", "text": "it cannot be read"}]}
    done = CliRunner().invoke(cli, ["dev", "sync", "web", "-o", "json"])
    assert (done.exit_code, json.loads(done.stdout)["sync"]) == (63, held_back)


@pytest.mark.parametrize("verb", ["end", "reset"])
def test_ending(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    found: dict[str, Any] = {"namespace": "shop", "ended": [SESSION]}
    monkeypatch.setattr(dev_once, verb, lambda *_, **__: found)
    assert CliRunner().invoke(cli, ["dev", verb, "web"]).output == (
        "deployment/web is as before; it was developed by al@x.\n"
    )
    assert json.loads(CliRunner().invoke(cli, ["dev", verb, "web", "-o", "json"]).output)["ended"] == [SESSION]
    found["ended"] = []
    assert "nothing was changed" in CliRunner().invoke(cli, ["dev", verb, "web"]).output


def test_ending_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = {**SESSION, "path": "/go", "owner": "al@x", "size": "5Gi", "claim": "web-ktpy-1", "phase": "Bound"}
    asked: list[bool] = []

    def end(*_: Any, purges: bool) -> dict[str, Any]:
        asked.append(purges)
        return {"ended": [SESSION], "purged": [volume]}

    monkeypatch.setattr(dev_once, "end", end)
    assert CliRunner().invoke(cli, ["dev", "end", "web", "--purge"]).output.splitlines() == [
        "deployment/web is as before; it was developed by al@x.",
        "deployment/web (web): /go of al@x, 5Gi in claim web-ktpy-1, bound; purged",
    ]
    assert json.loads(CliRunner().invoke(cli, ["dev", "end", "web", "--purge", "-o", "json"]).output)["purged"] == [
        volume
    ]
    assert asked == [True, True]


def test_persistent_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DevOptions] = []

    def run(options: DevOptions, *_: Any) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(dev, "run", run)
    wanted = ["dev", "start", "web", "--persist", "/go/", "--persist", "//data/x:5Gi", "--storage-class", "fast"]
    assert CliRunner().invoke(cli, wanted).exit_code == 0
    assert asked[0].persist == (PersistentDir("/go", "10Gi"), PersistentDir("/data/x", "5Gi"))
    assert asked[0].storage_class == "fast"
    for text in ("go", "/", "/..", "/.kt/bin", "/go:much"):
        assert CliRunner().invoke(cli, ["dev", "start", "web", "--persist", text]).exit_code == 2


@pytest.mark.parametrize(("options", "key", "end"), [((), "volumes", ""), (("--purge",), "purged", "; purged")])
def test_volumes(monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], key: str, end: str) -> None:
    volume = {**SESSION, "path": "/go", "owner": "al@x", "size": "5Gi", "claim": "web-ktpy-1", "phase": "Bound"}
    found: dict[str, Any] = {"namespace": "shop", key: [volume]}
    monkeypatch.setattr(dev_once, "purge" if options else "volumes", lambda *_: found)
    assert CliRunner().invoke(cli, ["dev", "volumes", "web", *options]).output == (
        f"deployment/web (web): /go of al@x, 5Gi in claim web-ktpy-1, bound{end}\n"
    )
    assert json.loads(CliRunner().invoke(cli, ["dev", "volumes", "-o", "json", *options]).output) == found | {
        "schema": 1
    }
    found[key] = []
    assert "no persistent directories" in CliRunner().invoke(cli, ["dev", "volumes", *options]).output
