"""Defaults of options from files: whose names they have there, which are allowed, and where each one stands.

A key is an option's long name without its hyphens. At the top it is for every command that has the option by the same
environment variable; in the table of a command it is for that one.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from ktpy.daemon import settings
from ktpy.daemon.settings import SettingsFile
from ktpy.errors import UsageError, unknown
from ktpy.frozen import dataclass

COMMON: Final = frozenset(
    (
        *("kubeconfig", "context", "namespace", "image", "pod-timeout", "pod-overlay", "node-selector", "pull-secret"),
        *("via", "allow-direct", "ssh-only", "for", "detach", "output", "verbose"),
    )
)
"""What may stand at the top: the options that several commands have."""
USERS_OWN: Final = frozenset(
    (
        "kubeconfig",
        "env",
        "env-file",
        "sync",
        "config",
        "file",
        "har",
        "write",
        "archive",
        "ca",
        "containerd",
        "plain-http",
        "via",
        "allow-direct",
        "ssh-only",
        "allow-changes",
    )
)
"""What a project's file may not say: it came with a clone, perhaps, and these name programs and files of the laptop,
give a login away, or let others reach ktpy's pod, or an agent change something."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A Setting is a default that a file has for an option of a command."""

    option: click.Option
    value: Any
    place: str


class Defaults(dict[str, Any]):
    """Defaults are those of one command by the names of its parameters, as click takes them."""

    def __init__(self, settings: Iterable[Setting]) -> None:
        self.settings = {str(one.option.name): one for one in settings}
        super().__init__((name, one.value) for name, one in self.settings.items())


def default_map(command: click.Command, name: str, files: Iterable[SettingsFile], names: Collection[str]) -> Any:
    """Return what the files say of a command, and of those of a group by their names; `names` are those of all.

    Raises UsageError for a key that means nothing, or is not for this file, and for a value of another type.
    """
    for file in files:
        _check_top(file, names)
        table = file.table.get(name)
        _check(file, table if isinstance(table, Mapping) else {}, (name,), command)  # `image` is an option's name, too
    if isinstance(command, click.Group):
        return {inner: Defaults(_settings(one, (name, inner), files)) for inner, one in command.commands.items()}
    return Defaults(_settings(command, (name,), files))


def usable_map(command: click.Command, name: str, names: Collection[str], tell: Callable[[str], None]) -> Any:
    """Return what the files say of a command that goes on whatever they say: of each that is wrong, that is told, and
    nothing in it holds."""

    def leave_out(error: UsageError) -> None:
        tell(f"{error.message} No default of that file holds for this command.")

    usable = []
    for file in settings.found(leave_out):
        try:
            for one in default_map(command, name, [file], names).settings.values():
                _check_value(one, command)
        except UsageError as error:
            leave_out(error)
        else:
            usable.append(file)
    return default_map(command, name, usable, names)


def _check_value(setting: Setting, command: click.Command) -> None:
    try:
        setting.option.type_cast_value(click.Context(command), setting.value)
    except click.UsageError as error:
        raise UsageError(f"{setting.place}: {error.format_message().rstrip('.')}.") from error


def place_of(error: click.UsageError) -> str | None:
    """Return the place of the setting that is wrong, where the error is of one."""
    ctx, parameter = error.ctx, getattr(error, "param", None)
    if ctx is None or parameter is None or not isinstance(ctx.default_map, Defaults):
        return None
    is_set = ctx.get_parameter_source(parameter.name) is click.core.ParameterSource.DEFAULT_MAP
    return ctx.default_map.settings[parameter.name].place if is_set else None


def key_of(option: click.Option) -> str:
    """Return the option's long name, of several the first, without its hyphens."""
    return next(one for one in option.opts if one.startswith("--")).lstrip("-")


def options_of(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option)]


def _settings(command: click.Command, path: tuple[str, ...], files: Iterable[SettingsFile]) -> Iterator[Setting]:
    for option in options_of(command):
        key = key_of(option)
        variable = str(option.envvar or "").removeprefix("KTPY_").lower().replace("_", "-")
        for file in files:
            scopes = [(*path[:depth], key) for depth in range(len(path), 0, -1)]
            keys = next((one for one in (*scopes, (variable,)) if _look(file.table, one) is not None), None)
            if keys is not None and (len(keys) > 1 or variable in COMMON):
                yield Setting(option, _value(option, file, keys), file.place(*keys))
                break


def _look(table: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    found: Any = table
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return None if isinstance(found, Mapping) else found


def _value(option: click.Option, file: SettingsFile, keys: tuple[str, ...]) -> Any:
    """Return the value as click takes it: as the command line would have it."""
    value = _look(file.table, keys)
    if option.is_flag or option.count:
        if type(value) is (bool if option.is_flag else int):
            return value
        wanted = "true or false" if option.is_flag else "a number"
        raise UsageError(f"{file.place(*keys)}: {keys[-1]} is {value!r}, not {wanted}.")
    values = value if option.multiple and isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, str | int | float) or "\0" in str(one) for one in values):
        wanted = "a text or a list of texts" if option.multiple else "a text or a number"
        raise UsageError(f"{file.place(*keys)}: {keys[-1]} is {value!r}, not {wanted}.")
    if isinstance(option.type, click.Path):
        values = [_path(file.path.parent, str(one)) for one in values]
    return list(map(str, values)) if option.multiple else str(values[0])


def _path(folder: Path, path: str) -> str:
    """Return a path, or a list of them as in KUBECONFIG, that the file names: from the file's own folder on."""
    homes = map(os.path.expanduser, path.split(os.pathsep))
    return os.pathsep.join(str(folder / one) for one in homes)


def _check_top(file: SettingsFile, names: Collection[str]) -> None:
    for key, value in file.table.items():
        if isinstance(value, Mapping):
            _check_key(file, (key,), names, "There is no command {}")
        else:
            _check_key(file, (key,), COMMON, "There is no {} for all commands")


def _check(file: SettingsFile, table: Mapping[str, Any], path: tuple[str, ...], command: click.Command) -> None:
    inner = command.commands if isinstance(command, click.Group) else {}
    keys = {key_of(option) for one in (inner.values() or (command,)) for option in options_of(one)}
    for key, value in table.items():
        if isinstance(value, Mapping):
            _check_key(file, (*path, key), inner, f"{' '.join(path)} has no command {{}}")
            _check(file, value, (*path, key), inner[key])
        else:
            _check_key(file, (*path, key), keys, f"{' '.join(path)} has no option {{}}")


def _check_key(file: SettingsFile, keys: tuple[str, ...], known: Collection[str], sentence: str) -> None:
    if keys[-1] not in known:
        raise unknown(f"{file.place(*keys)}: {sentence.format(keys[-1])}", keys[-1], known)
    if file.is_of_project and keys[-1] in USERS_OWN:
        raise UsageError(
            f"{file.place(*keys)}: {keys[-1]} is for you alone to say, and for no project's file.",
            hint="It may stand in ~/.config/ktpy/config.toml.",
        )
