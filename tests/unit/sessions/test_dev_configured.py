from dataclasses import replace
from pathlib import Path

import pytest

from ktpy.errors import UsageError
from ktpy.observe.events import Event, Notice
from ktpy.sessions.dev_configured import configured, configured_run
from ktpy.sessions.options import DevOptions, Exec, PersistentDir, Publish, SyncFolder
from tests.unit.sessions.test_dev_config import FULL, OWN, untold, written


def test_what_the_user_says_counts_more(tmp_path: Path) -> None:
    file, told = str(written(tmp_path, FULL)), list[Event]()
    mine = configured(DevOptions("deploy/catalog", container="catalog", image="mine", config=file), told.append)
    assert (mine.image, mine.shell, mine.work_dir, mine.env[0]) == ("mine", "zsh", "/home/dev", ("foo", "bar"))
    texts = [one.text for one in told if isinstance(one, Notice)]
    assert [text.partition(": ")[2].partition(":")[0] for text in texts] == [
        "install, gitUrl",
    ]
    assert mine.persist == (PersistentDir("/go", "5Gi"),)


def test_a_folder_that_cannot_be_kept_has_its_place(tmp_path: Path) -> None:
    text = "name: web\ncontainers: [{dev: {persistentVolumeDirs: [{path: go}]}}]"
    with pytest.raises(UsageError, match=r":2:.*go cannot be persistent"):
        configured(DevOptions("web", config=str(written(tmp_path, text))), lambda _: None)


def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    silent = configured(DevOptions("web", sync=SyncFolder(".", "")), lambda _: None)
    assert silent.sync == SyncFolder(".", "/home/dev")
    assert silent.work_dir == "/home/dev"
    file = str(written(tmp_path, FULL.replace("/home/dev", "/src")))
    wanted = DevOptions("catalog", container="catalog", sync=SyncFolder(".", ""), config=file)
    there = SyncFolder(".", "/src", is_two_way=False, is_delete_protected=True, ignore=(".git", "dist"))
    assert configured(wanted, lambda _: None).sync == there


def test_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".nocalhost").mkdir()
    written(tmp_path / ".nocalhost", "name: web\ncontainers: [{dev: {workDir: /src, command: {run: [make, run]}}}]")
    assert configured_run(DevOptions("web"), untold) == Exec(("make", "run"), folder="/src")
    assert configured_run(DevOptions("web", command=("ls",)), untold) == Exec(("ls",))
    assert configured_run(DevOptions("db"), untold) == Exec()


@pytest.mark.parametrize(
    ("said", "asked", "runs"),
    [
        ("", True, Exec(("a", "b"), reloads=True)),
        ("hotReload: true, ", False, Exec(("a", "b"), reloads=True)),
        ("hotReload: true, command: {run: [a, b], hotReloadRun: [air, c]}", False, Exec(("air", "c"))),
        ("hotReload: true, command: {run: [a, b], hotReloadRun: [air, c]}", True, Exec(("a", "b"), reloads=True)),
        ("command: {run: [a, b], hotReloadRun: [air, c]}", False, Exec(("a", "b"))),
    ],
)
def test_what_is_started_again_when_files_change(tmp_path: Path, said: str, asked: bool, runs: Exec) -> None:
    dev = said if "command" in said else f"{said}command: {{run: [a, b]}}"
    file = str(written(tmp_path, f"name: web\ncontainers: [{{dev: {{{dev}}}}}]"))
    assert configured_run(DevOptions("web", config=file, reloads=asked), untold) == runs
    assert configured_run(DevOptions("web", config=file, command=("ls",), reloads=asked), untold).reloads == asked


@pytest.mark.parametrize("image", ["x.test/a:${MINE}", '"x.test/${MINE:-b}"', ">-\n      x.test/a:${MINE}"])
def test_no_image_tells_a_variable_of_this_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str) -> None:
    monkeypatch.setenv("MINE", "private")
    file = str(written(tmp_path, f"name: web\ncontainers:\n- dev:\n    image: {image}"))
    with pytest.raises(UsageError, match="does not tell a registry"):
        configured(DevOptions("web", config=file), lambda _: None)
    assert configured(DevOptions("web", config=file, image="mine"), lambda _: None).image == "mine"


def test_variables_that_are_put_in_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "private")
    monkeypatch.delenv("OTHER", raising=False)
    text = "name: web\ncontainers: [{dev: {image: go, command: {run: ['${MINE}', '${OTHER:-b}']}}}]"
    options, told = DevOptions("web", config=str(written(tmp_path, text))), list[Event]()
    assert configured_run(options, told.append) == Exec(("private", "b"))
    assert configured(options, told.append).image == "go"
    assert told == [Notice(f"{options.config} was given variables of this laptop's environment: MINE.")] * 2


def test_one_folder_has_one_name(tmp_path: Path) -> None:
    text = "name: web\ncontainers: [{dev: {workDir: /home//dev/}}]"
    file = str(written(tmp_path, text))
    there = configured(DevOptions("web", sync=SyncFolder(".", ""), config=file), lambda _: None)
    assert there.sync == SyncFolder(".", "/home/dev")
    assert there.work_dir == "/home/dev"


def test_our_own_file_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".nocalhost").mkdir()
    theirs = "[{name: web, containers: [{dev: {image: a}}]}, {name: db, containers: [{dev: {image: b}}]}]"
    (tmp_path / ".nocalhost/config.yaml").write_text(theirs)
    (tmp_path / "ktpy.yaml").write_text("dev: [{workload: web, image: own}]")
    assert [configured(DevOptions(one), untold).image for one in ("web", "db", "x")] == ["own", "b", None]


def test_ports(tmp_path: Path) -> None:
    text = "name: catalog\ncontainers: [{dev: {portForward: ['3200:4200', ':8080']}}]"
    options = DevOptions("catalog", config=str(written(tmp_path, text)))
    assert configured(options, untold).forward == (Publish(3200, 4200), Publish(0, 8080))
    asked = replace(options, forward=(Publish(1, 2),))
    assert configured(asked, untold).forward == (Publish(1, 2),)
    own = replace(options, target="deployment/catalog", config=str(written(tmp_path, OWN)))
    assert (configured(own, untold).forward, configured(own, untold).reverse) == (
        (Publish(3200, 4200), Publish(0, 8080)),
        (Publish(5432, 5432),),
    )
    written(tmp_path, text.replace("3200", "http"))
    with pytest.raises(UsageError, match=r"config.yaml:2:\d+: portForward: 'http:4200' is not \[LOCAL:\]PORT"):
        configured(options, untold)
