from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.sessions import dev_config_in_cluster, dev_debug, dev_visit
from ktpy.sessions.options import Exec


@pytest.fixture(autouse=True)
def as_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", tmp_path))


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("terminal", "web", "--shell", "zsh"), Exec(shell="zsh")),
        (("run", "web", "--work-dir", "/src", "--", "make"), Exec(("make",), folder="/src")),
        (("run", "web", "--reload", "--", "make"), Exec(("make",), reloads=True)),
        (("debug", "web", "--reload", "--port", ":1", "--", "dlv"), Exec(("dlv",), reloads=True)),
        (("logs", "web"), Exec(("/.kt/bin/ktpy-agent", "logs", "/.kt-run"), is_logged=False)),
        (("logs", "web", "-f"), Exec(("/.kt/bin/ktpy-agent", "logs", "/.kt-run", "-f"), is_logged=False)),
    ],
)
def test_visiting(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], asked: Exec) -> None:
    given: list[Any] = []

    def run(*values: Any) -> int:
        given.append(values)
        return 3

    monkeypatch.setattr(dev_visit, "run", run)
    assert CliRunner().invoke(cli, ["dev", *arguments]).exit_code == 3
    assert given[0][1:3] == ("web", asked)


@pytest.mark.parametrize("verb", ["run", "build", "debug"])
def test_a_command_is_wanted(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(dev_config_in_cluster, "texts", lambda _: [])
    monkeypatch.setattr(dev_debug, "texts", lambda _: [])
    assert CliRunner().invoke(cli, ["dev", verb, "web"]).exit_code == 2


@pytest.mark.parametrize(
    ("verb", "asked"), [("run", ("sh", "-c", "./serve")), ("build", ("sh", "-c", "make")), ("debug", ("dlv", "debug"))]
)
def test_commands_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str, asked: tuple[str, ...]
) -> None:
    given: list[Any] = []

    def run(*values: Any) -> int:
        given.append(values)
        return 3

    monkeypatch.setattr(dev_visit, "run", run)
    file = tmp_path / "ktpy.yaml"
    file.write_text(
        "dev: [{run: [./serve], build: [make], workingDir: /src, debug: {command: [dlv, debug], port: 18083}}]"
    )
    assert CliRunner().invoke(cli, ["dev", verb, "web", "--config", str(file)]).exit_code == 3
    assert given[0][1:3] == ("web", Exec(asked, folder="/src"))


@pytest.mark.parametrize("port", ["0", "a:1", "1:2:3"])
def test_no_port_of_a_debugger(port: str) -> None:
    assert CliRunner().invoke(cli, ["dev", "debug", "web", "--port", port, "--", "dlv"]).exit_code == 2
