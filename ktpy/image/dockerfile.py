"""What agent-image/Dockerfile says, for who builds the image without a container engine. Pure."""

import json
import re
import shlex
from typing import Any, Final

from ktpy.frozen import dataclass

_INSTALL: Final = re.compile(r"apt-get install (?:-[\w-]+ )*([\w.+ -]+)")
_IMPORTS: Final = re.compile(r'python3 -IS -c "([^"]+)"')
_LIST: Final = re.compile(r'^removable="([^"]*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A Recipe is what goes into the image, and how it is run."""

    packages: tuple[str, ...]
    copies: tuple[tuple[str, str], ...]
    """Files and folders of the build's context, each with its place in the image."""
    config: dict[str, Any]
    """As OCI has it: user, entrypoint and so on."""
    imports: str
    """Python, which fails where the agent lacks a module."""


def parse(text: str) -> Recipe:
    """Read the Dockerfile. Raises ValueError where it is written as this module does not know."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    lines = [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]
    last_from = max(number for number, line in enumerate(lines) if line[0] == "FROM")
    installed, imports = _INSTALL.search(joined), _IMPORTS.search(joined)
    if installed is None or imports is None:
        raise ValueError("the Dockerfile installs no packages, or tries no imports")
    copied = (tuple(rest.split()) for word, rest in lines[:last_from] if word == "COPY")
    copies = tuple((source, target) for source, target in copied if not target.startswith("/tmp/"))  # noqa: S108 - its own
    return Recipe(tuple(installed[1].split()), copies, _config(lines[last_from:]), imports[1])


def removable(shrink: str) -> frozenset[str]:
    """Return the packages that agent-image/shrink takes away. Raises ValueError where it names none."""
    if (found := _LIST.search(shrink)) is None:
        raise ValueError("shrink names no packages")
    return frozenset(found[1].split())


def _config(lines: list[tuple[str, ...]]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for word, rest in lines:
        match word:
            case "ENV":
                config["Env"] = shlex.split(rest)
            case "LABEL":
                config["Labels"] = dict(one.split("=", 1) for one in shlex.split(rest))
            case "USER":
                config["User"] = rest
            case "EXPOSE":
                config["ExposedPorts"] = {f"{port}/tcp": {} for port in rest.split()}
            case "ENTRYPOINT" | "CMD":
                config[word.capitalize()] = json.loads(rest)
            case "FROM" | "COPY":
                pass
            case _:
                raise ValueError(f"{word} of the Dockerfile is not known")
    return config
