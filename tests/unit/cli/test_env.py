"""What `ktpy env` prints; where that comes from: tests/e2e/test_env.py."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ktpy.cli import env as command
from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.sessions import env
from ktpy.sessions.options import ConnectOptions, WorkloadChoice

ENVIRONMENT = {"A": "1", "LINES": "a\n'b' $C", "PASSWORD": "s3cret", "my.var": "x"}


class Asked:
    """What the use case was asked."""

    options: ConnectOptions
    choice: WorkloadChoice


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    asked = Asked()

    def environment(options: ConnectOptions, choice: WorkloadChoice, _report: object) -> dict[str, Any]:
        asked.options, asked.choice = options, choice
        return {"workload": "deployment/web", "environment": dict(ENVIRONMENT), "secret_names": ["PASSWORD"]}

    monkeypatch.setattr(env, "environment", environment)
    monkeypatch.setattr(Caller, "become", lambda: Caller(1000, 1000, "al", tmp_path))
    return asked


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["env", *arguments], catch_exceptions=False)


def test_the_workload_is_named_with_its_namespace_or_without(asked: Asked) -> None:
    run("web.shop", "-c", "main")
    assert (asked.options.namespace, asked.choice) == ("shop", WorkloadChoice("web", "main"))
    run("sts/db", "-n", "x")
    assert (asked.options.namespace, asked.choice) == ("x", WorkloadChoice("sts/db"))
    assert run("a b").exit_code == 2


def test_a_shell_gets_exactly_the_values(asked: Asked) -> None:
    done = run("web")
    words = [word for word in shlex.split(done.stdout) if word != "export"]
    assert words == [f"{name}={value}" for name, value in ENVIRONMENT.items() if name != "my.var"]
    assert done.stderr == "The format export cannot express my.var: left out.\n"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", "N='plain'"),
        ("two\nlines $X", "N='two\nlines $X'"),
        ("it's\n$5", 'N="it\'s\\n\\$5"'),
        ('back\\slash"', 'N="back\\\\slash\\""'),
    ],
)
def test_dotenv(value: str, line: str) -> None:
    assert command.FORMATS["dotenv"]("N", value) == line


@pytest.mark.parametrize(("name", "value"), [("x;true;y", "v"), ("#x", "v"), ("N", "it's `true`")])
def test_what_a_shell_that_sources_dotenv_would_run_is_left_out(name: str, value: str) -> None:
    assert command.FORMATS["dotenv"](name, value) is None


def test_a_shell_keeps_its_own(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", "/app/bin")
    assert "PATH" not in run("web").stdout
    assert "PATH: left out, the shell keeps its own.\n" in run("web").stderr
    assert "PATH=/app/bin\n" in run("web", "-o", "docker").stdout


def test_docker_is_told_what_it_cannot_have(asked: Asked) -> None:
    done = run("web", "-o", "docker")
    assert done.stdout == "A=1\nPASSWORD=s3cret\nmy.var=x\n"
    assert done.stderr == "The format docker cannot express LINES: left out.\n"


def test_json(asked: Asked) -> None:
    found = json.loads(run("web", "--output", "json").stdout)
    assert (found["environment"], found["secret_names"]) == (ENVIRONMENT, ["PASSWORD"])


def test_a_terminal_does_not_show_secrets_unless_asked(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(command, "sys", type("sys", (), {"stdout": Terminal()}))
    done = run("web")
    assert "s3cret" not in done.output
    assert f"export PASSWORD='{command.MASK}'" in done.stdout
    assert "--show-secrets" in done.stderr
    assert "s3cret" in run("web", "--show-secrets").stdout
