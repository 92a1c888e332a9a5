"""What an editor needs to attach to a program's debugger in a dev container. Pure.

https://code.visualstudio.com/docs/python/debugging, .../nodejs/nodejs-debugging, .../java/java-debugging, and
vscode-go's debugging.md have VS Code's fields; a `.run/*.run.xml` that JetBrains' editors share has theirs.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from ktpy.capture.spec import LOOPBACK

_WORDS: Final = {"python": ("debugpy",), "go": ("dlv",), "java": ("jdwp",), "node": ("--inspect", "--inspect-brk")}
"""What the command of a debugger has in it, by its language."""
_ALIASES: Final = {"golang": "go", "nodejs": "node", "javascript": "node", "typescript": "node", "kotlin": "java"}
_FOLDER: Final = "${workspaceFolder}"


def language_of(named: str, command: Sequence[str]) -> str:
    """Return the language, by the name that the user gives it or by the debugger's command; empty if it is unknown."""
    name = named.lower()
    if name:
        return _ALIASES.get(name, name)
    text = " ".join(command)
    return next((one for one, words in _WORDS.items() if any(word in text for word in words)), "")


def entries(name: str, language: str, port: int, folder: str) -> Iterator[str]:
    """Yield a line for each kind of editor; `folder` of the container has what the editor's folder has, if it is known.

    `port` is the laptop's. Nothing is yielded for a language that is not known.
    """
    if (fields := _vs_code(language, port, folder)) is not None:
        entry = {"name": f"ktpy: {name}", "type": language, "request": "attach", **fields}
        yield f"VS Code, .vscode/launch.json: {json.dumps(entry)}"
    if language == "python":
        yield (
            "PyCharm's debug server waits for the program instead: with `ktpy dev start --reverse PORT` the program "
            f"reaches it by pydevd_pycharm.settrace('{LOOPBACK}', port=PORT)."
        )
    elif (configuration := _jetbrains(f"ktpy: {name}", language, port)) is not None:
        yield f"JetBrains, .run/ktpy.run.xml: {configuration}"


def _vs_code(language: str, port: int, folder: str) -> dict[str, Any] | None:
    mapped: dict[str, Any]
    match language:
        case "python":
            mapped = {"pathMappings": [{"localRoot": _FOLDER, "remoteRoot": folder}]} if folder else {}
            return {"type": "debugpy", "connect": {"host": LOOPBACK, "port": port}, **mapped}
        case "node":
            mapped = {"localRoot": _FOLDER, "remoteRoot": folder} if folder else {}
            return {"address": LOOPBACK, "port": port, "restart": True, **mapped}
        case "go":
            substituted = {"substitutePath": [{"from": _FOLDER, "to": folder}]} if folder else {}
            return {"mode": "remote", "host": LOOPBACK, "port": port, **substituted}
        case "java":
            return {"hostName": LOOPBACK, "port": port}
    return None


def _jetbrains(name: str, language: str, port: int) -> str | None:
    match language:
        case "node":
            inner = f'type="ChromiumRemoteDebugType" factoryName="Chromium Remote" port="{port}" />'
        case "go":
            inner = f'type="GoRemoteDebugConfigurationType" factoryName="Go Remote" host="{LOOPBACK}" port="{port}" />'
        case "java":
            options = {"USE_SOCKET_TRANSPORT": True, "SERVER_MODE": False, "HOST": LOOPBACK, "PORT": port}
            values = {key: str(value).lower() for key, value in options.items()}
            lines = "".join(f'<option name="{key}" value="{value}" />' for key, value in values.items())
            inner = f'type="Remote">{lines}</configuration>'
        case _:
            return None
    manager = "ProjectRunConfigurationManager"
    return f'<component name="{manager}"><configuration name={quoteattr(name)} {inner}</component>'
