"""What a ktpy.yaml says of what `ktpy up` begins. `${NAME}` in a value stands for a variable of the environment."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from ktpy.errors import UsageError, unknown
from ktpy.frozen import dataclass
from ktpy.sessions.yaml_shapes import ANYTHING, TEXT, ShapeReader

PLACE: Final = {"kubeconfig": TEXT, "context": TEXT, "namespace": TEXT}
"""What stands once, for all entries that do not say it."""
PROFILES: Final = {"profiles": (TEXT,)}
COMMANDS: Final[Mapping[str, Any]] = {
    "commands": (
        {
            "name": TEXT,
            "command": (TEXT,),
            "workingDir": TEXT,
            "env": ({"name": TEXT, "value": TEXT},),
            **PROFILES,
        },
    )
}
SAID: Final = {
    "kubeconfig": "Kubeconfig file of all entries.",
    "context": "Kubeconfig context of all entries that name none.",
    "namespace": "Namespace of all entries that name none.",
    "commands": "Commands of this laptop that run beside all that, once it stands.",
    "commands.name": "By which its log is found: `ktpy logs command-NAME`.",
    "commands.command": "Words, or one line for a shell.",
    "commands.workingDir": "From the file's folder on, which is the default.",
    "commands.env": "Variables beside the environment's.",
    "commands.profiles": "It is begun only where one of these is asked for.",
}
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A FileEntry is one of the file."""

    kind: str
    """The key under which it stands."""
    values: Mapping[str, Any]
    """By its keys, with those of all entries; what is left at its default is left out."""
    places: Mapping[str, str]
    place: str
    profiles: tuple[str, ...]

    def place_of(self, key: str | None) -> str:
        return self.places.get(key or "", self.place)


def read(path: Path, shapes: Mapping[str, Any], variables: Mapping[str, str]) -> list[FileEntry]:
    """Return the entries in the order of the shapes: a map is one entry, a list has several.

    Raises UsageError with line and column for what cannot be understood, and for a variable that is not set.
    """
    import yaml  # not before it is needed

    reader = ShapeReader(str(path))
    try:
        node = yaml.compose(path.read_text())
        if node is None:
            return []
        _substitute(node, reader, variables, set())
        found = reader.value(node, {"dev": ANYTHING, **PLACE, **shapes}) or {}
    except FileNotFoundError:
        raise UsageError(f"There is no {path}.", hint="-f FILE names another one.") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply, or within itself.") from error
    return [
        _entry(kind, one, shape, found, reader)
        for kind, shape in shapes.items()
        if kind in found
        for one in (found[kind] or () if isinstance(shape, tuple) else (found[kind],))
    ]


def select(entries: Collection[FileEntry], profiles: Collection[str]) -> list[FileEntry]:
    """Return the entries without profiles, and those of these. Raises UsageError for a profile that no entry has."""
    known = {profile for one in entries for profile in one.profiles}
    for profile in profiles:
        if profile not in known:
            raise unknown(f"No entry has the profile {profile}", profile, known or {"none"})
    return [one for one in entries if not one.profiles or {*one.profiles} & {*profiles}]


def _entry(kind: str, said: Any, shape: Any, whole: Mapping[str, Any], reader: ShapeReader) -> FileEntry:
    said = said or {}
    places = {**reader.places(whole), **reader.places(said)}
    common = {key: value for key in PLACE if key in _keys(shape) and (value := whole.get(key))}
    values = {key: value for key, value in {**common, **said}.items() if value not in (None, "", [])}
    place = next(iter(reader.places(said).values()), places[kind])
    return FileEntry(kind, values, places, place, tuple(values.pop("profiles", ())))


def _keys(shape: Any) -> Mapping[str, Any]:
    keys: Mapping[str, Any] = shape[0] if isinstance(shape, tuple) else shape
    return keys


def _substitute(node: Any, reader: ShapeReader, variables: Mapping[str, str], done: set[int]) -> None:
    """Put values in the place of variables, but not below `dev`, which `ktpy dev` reads."""
    import yaml

    if id(node) in done:  # by an alias
        return
    is_top = not done
    done.add(id(node))
    if isinstance(node, yaml.MappingNode):
        inner = [value for key, value in node.value if not (is_top and key.value == "dev")]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    else:
        _fill(node, reader, variables)
        return
    for one in inner:
        _substitute(one, reader, variables, done)


def _fill(node: Any, reader: ShapeReader, variables: Mapping[str, str]) -> None:
    import yaml

    def value(found: re.Match[str]) -> str:
        name, default = found.groups()
        if name is None:
            return "${"
        told = variables.get(name) or default
        if told is None:
            raise UsageError(
                f"{reader.place(node)}: The variable {name} is not set.",
                hint=f"Set it, or write what holds without it: ${{{name}:-VALUE}}. $${{ means ${{ itself.",
            )
        return told

    text = _VARIABLE.sub(value, node.value)
    if text != node.value:
        node.value = text
        if node.style is None:  # it may be true, or a number
            resolver: Any = yaml.SafeLoader("")
            node.tag = resolver.resolve(yaml.ScalarNode, text, (True, False))
