import json
from xml.etree import ElementTree

import pytest

from ktpy.sessions.debuggers import entries, language_of


@pytest.mark.parametrize(
    ("named", "command", "language"),
    [
        ("Golang", (), "go"),
        ("php", ("dlv",), "php"),
        ("", ("python", "-m", "debugpy", "--listen", "5678"), "python"),
        ("", ("sh", "-c", "exec dlv debug ."), "go"),
        ("", ("node", "--inspect-brk=9229", "a.js"), "node"),
        ("", ("java", "-agentlib:jdwp=transport=dt_socket,server=y"), "java"),
        ("", ("./run",), ""),
    ],
)
def test_the_language(named: str, command: tuple[str, ...], language: str) -> None:
    assert language_of(named, command) == language


@pytest.mark.parametrize(
    ("language", "fields"),
    [
        (
            "python",
            {
                "type": "debugpy",
                "connect": {"host": "127.0.0.1", "port": 5678},
                "pathMappings": [{"localRoot": "${workspaceFolder}", "remoteRoot": "/src"}],
            },
        ),
        (
            "node",
            {
                "type": "node",
                "address": "127.0.0.1",
                "port": 5678,
                "restart": True,
                "localRoot": "${workspaceFolder}",
                "remoteRoot": "/src",
            },
        ),
        (
            "go",
            {
                "type": "go",
                "mode": "remote",
                "host": "127.0.0.1",
                "port": 5678,
                "substitutePath": [{"from": "${workspaceFolder}", "to": "/src"}],
            },
        ),
        ("java", {"type": "java", "hostName": "127.0.0.1", "port": 5678}),
    ],
)
def test_vs_code(language: str, fields: dict[str, object]) -> None:
    line = next(entries("web", language, 5678, "/src"))
    assert json.loads(line.removeprefix("VS Code, .vscode/launch.json: ")) == {
        "name": "ktpy: web",
        "request": "attach",
        **fields,
    }


@pytest.mark.parametrize("language", ["python", "node", "go"])
def test_a_folder_that_is_not_known_is_not_mapped(language: str) -> None:
    assert "workspaceFolder" not in next(entries("web", language, 5678, ""))


@pytest.mark.parametrize(
    ("language", "kind"),
    [("node", "ChromiumRemoteDebugType"), ("go", "GoRemoteDebugConfigurationType"), ("java", "Remote")],
)
def test_jetbrains(language: str, kind: str) -> None:
    line = list(entries('we"b', language, 5678, "/src"))[1]
    [configuration] = ElementTree.fromstring(line.removeprefix("JetBrains, .run/ktpy.run.xml: "))
    assert (configuration.get("name"), configuration.get("type")) == ('ktpy: we"b', kind)
    assert "5678" in (configuration.get("port"), *(one.get("value") for one in configuration))


def test_pycharm_waits_for_the_program() -> None:
    assert "--reverse PORT" in list(entries("web", "python", 5678, ""))[1]


def test_another_language() -> None:
    assert list(entries("web", "php", 9003, "/src")) == []
