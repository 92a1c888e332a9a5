"""The entries of ktpy.yaml that `ktpy up` begins: their keys are the options of the command that each one becomes.

`--when-local-down` is `whenLocalDown`, as names of Kubernetes are written. What an entry says is read by the command's
own parser, before anything is begun.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ktpy.cli.defaults import default_map, key_of, options_of
from ktpy.daemon.logs import connection_log_name, target_log_name
from ktpy.daemon.runtime import COMMAND, CONNECT
from ktpy.daemon.settings import SettingsFile
from ktpy.errors import UsageError
from ktpy.sessions import ktpy_yaml, up_file
from ktpy.sessions.up import Entry, command_entry, session_entry
from ktpy.sessions.up_file import FileEntry
from ktpy.sessions.yaml_shapes import SWITCH, TEXT

VERBS: Final = {
    CONNECT: "Reach the cluster from here, as `ktpy connect` does.",
    "exchange": "Serve all requests of services here.",
    "mesh": "Serve requests that carry a mark here.",
    "preview": "Serve new services from here.",
    "tap": "Get copies of requests here.",
    "forward": "Lead ports of this laptop to services.",
}
_OURS: Final = frozenset(("detach", "output", "verbose"))
"""These options are chosen here."""
_ON: Final = ("localShortcut",)
"""What an entry does unless it, or a file of defaults, says otherwise: services of one team's file call each other."""


def shapes(cli: click.Group) -> dict[str, Any]:
    """Return the shape of the entries: one `connect`, and lists of the others."""
    found: dict[str, Any] = {}
    for verb in VERBS:
        keys = {key: _shape(one) for key, one in _keys(cli.commands[verb]).items()} | up_file.PROFILES
        found[verb] = keys if verb == CONNECT else (keys,)
    return {**found, **up_file.COMMANDS}


def schema(cli: click.Group) -> dict[str, Any]:
    """Return the JSON schema of ktpy.yaml."""
    said = {**up_file.SAID, **VERBS}
    for verb in VERBS:
        said[f"{verb}.profiles"] = up_file.SAID["commands.profiles"]
        for key, one in _keys(cli.commands[verb]).items():
            said[f"{verb}.{key}"] = getattr(one, "help", None) or "What the command takes."
    return ktpy_yaml.json_schema({**up_file.PLACE, **shapes(cli)}, said)


def read(
    cli: click.Group,
    path: Path,
    profiles: Sequence[str],
    variables: Mapping[str, str],
    files: Sequence[SettingsFile],
) -> list[Entry]:
    """Return what the file says; entries of other profiles are not wanted. Raises UsageError with line and column."""
    entries = up_file.read(path, shapes(cli), variables)
    wanted = up_file.select(entries, profiles)
    found = [_entry(cli, one, path.parent, files, is_wanted=one in wanted) for one in entries]
    for number, one in enumerate(found):
        if one.digest in {other.digest for other in found[:number]}:
            raise UsageError(f"{entries[number].place}: {one.name} stands there twice.")
    return found


def _entry(cli: click.Group, one: FileEntry, folder: Path, files: Sequence[SettingsFile], *, is_wanted: bool) -> Entry:
    if one.kind == "commands":
        return _command(one, folder, is_wanted=is_wanted)
    command = cli.commands[one.kind]
    of_files = default_map(command, one.kind, files, cli.commands)
    on = {key: True for key, option in _keys(command).items() if key in _ON and option.name not in of_files}
    words = (one.kind, "--detach", "--output=json", *_words(command, on | dict(one.values)))
    root = click.Context(cli, info_name="ktpy")
    root.default_map = {one.kind: of_files}
    try:
        with command.make_context(one.kind, list(words[1:]), parent=root) as ctx:
            told = dict(ctx.params)
    except click.UsageError as error:
        raise _told(error, one) from error
    if one.kind == CONNECT:
        name = connection_log_name(told.get("name"))
    else:
        name = target_log_name(one.kind, told.get("target") or told.get("name"))
    return session_entry(one.kind, name, words, told, is_wanted=is_wanted)


def _command(one: FileEntry, folder: Path, *, is_wanted: bool) -> Entry:
    for key in ("name", "command"):
        if key not in one.values:
            raise UsageError(f"{one.place}: An entry of commands has a {key}.")
    name, words = one.values["name"], tuple(one.values["command"])
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}", name):
        raise UsageError(f"{one.place_of('name')}: {name!r} is no name of a command, such as api.")
    if None in words:
        raise UsageError(f"{one.place_of('command')}: A word of the command is null.")
    folder = (folder / os.path.expanduser(one.values.get("workingDir", ""))).resolve()  # noqa: PTH111 - pathlib's raises
    if not folder.is_dir():
        raise UsageError(f"{one.place_of('workingDir')}: There is no folder {folder}.")
    pairs = [pair for pair in one.values.get("env", ()) if pair]
    if any(not pair.get("name") or "=" in pair["name"] for pair in pairs):
        raise UsageError(f"{one.place_of('env')}: A variable has a name, which holds no `=`.")
    environment = {str(pair["name"]): pair.get("value") or "" for pair in pairs}
    words = ("sh", "-c", words[0]) if len(words) == 1 else words
    return command_entry(f"{COMMAND}-{name}", words, folder, environment, is_wanted=is_wanted)


def _told(error: click.UsageError, one: FileEntry) -> UsageError:
    """Return what is wrong with an entry in the words of the file, with its place."""
    parameter = getattr(error, "param", None)
    key = _key(parameter) if parameter is not None else None
    if isinstance(error, click.MissingParameter):
        return UsageError(f"{one.place}: {one.kind} needs {key}.")
    return UsageError(f"{one.place_of(key)}: {f'{key}: ' if key else ''}{error.message}")


def _words(command: click.Command, values: Mapping[str, Any]) -> Iterator[str]:
    arguments: list[str] = []
    for key, one in _keys(command).items():
        if (value := values.get(key)) is None:
            continue
        if isinstance(one, click.Argument):
            arguments += value if isinstance(value, list) else [value]
        elif one.is_flag:
            yield from one.opts[:1] if value else one.secondary_opts[:1]
        else:
            yield from (f"--{key_of(one)}={each}" for each in (value if isinstance(value, list) else [value]))
    yield from arguments


def _keys(command: click.Command) -> dict[str, Any]:
    """Return the parameters by their keys in the file."""
    ours = {option.name for option in options_of(command) if key_of(option) in _OURS}
    return {_key(one): one for one in command.params if one.name not in ours}


def _key(parameter: click.Parameter) -> str:
    name = key_of(parameter) if isinstance(parameter, click.Option) else str(parameter.name)
    return re.sub(r"-(.)", lambda found: found[1].upper(), name)


def _shape(parameter: Any) -> Any:
    if getattr(parameter, "is_flag", False):
        return SWITCH
    if isinstance(parameter.type, click.Choice):
        return frozenset(parameter.type.choices)
    return (TEXT,) if parameter.multiple or parameter.nargs == -1 else TEXT
