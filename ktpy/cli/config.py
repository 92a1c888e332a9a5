"""`ktpy config` shows what options are set to without being said, and where."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

import click

from ktpy.cli import defaults, render
from ktpy.cli.options import output, verbose
from ktpy.daemon import settings
from ktpy.daemon.caller import Caller
from ktpy.daemon.settings import SettingsFile

DEFAULT: Final = "default"
COMMANDS_SHOWN: Final = 3


@click.command()
@click.argument("command", nargs=-1, metavar="[COMMAND]...")
@output
@verbose
@click.pass_context
def config(ctx: click.Context, command: tuple[str, ...], output: str) -> None:
    """Show what options are set to by the environment and by files, and where; with COMMAND, all of its options.

    The files are ~/.config/ktpy/config.toml and the nearest .ktpy.toml from here upward, which goes before it. The
    environment (KTPY_NAMESPACE) goes before both, and the command line before all.

    \b
    ktpy config
    ktpy config connect
    ktpy config dev start -o json
    """
    Caller.become()
    files = settings.found()
    cli = cast(click.Group, ctx.find_root().command)
    values = [
        one
        for path, inner, known in _below(cli, files)
        if path[: len(command)] == command
        for one in _values(path, inner, known)
        if command or one["source"] != DEFAULT
    ]
    if command and not values:
        raise click.UsageError(f"There is no command {' '.join(command)} with options.")
    if output == "json":
        told = [{"path": str(one.path), "is_read": not one.refusal, "reason": one.refusal} for one in files]
        render.say_json({"files": told, "values": values})
        return
    render.say(*(f"{one.path}{f' is not read: {one.refusal}' if one.refusal else ''}" for one in files))
    if not files:
        render.say("There is neither a .ktpy.toml from here upward nor a config.toml of yours.")
    render.say(*_lines(values, command))


def _below(
    cli: click.Group, files: Sequence[SettingsFile]
) -> Iterator[tuple[tuple[str, ...], click.Command, defaults.Defaults]]:
    """Yield every command with its path and its defaults. Raises UsageError as `default_map` does."""
    for name, one in cli.commands.items():
        known = defaults.default_map(one, name, files, cli.commands)
        if isinstance(one, click.Group):
            for inner, command in one.commands.items():
                yield (name, inner), command, known[inner]
        else:
            yield (name,), one, known


def _values(path: tuple[str, ...], command: click.Command, known: defaults.Defaults) -> Iterator[dict[str, Any]]:
    for option in defaults.options_of(command):
        setting = known.settings.get(str(option.name))
        value: Any
        if isinstance(option.envvar, str) and (text := os.environ.get(option.envvar)):
            value, source = text, option.envvar
        elif setting is not None:
            value, source = setting.value, setting.place
        else:
            value, source = option.default if isinstance(option.default, str | int | float) else None, DEFAULT
        yield {"command": " ".join(path), "option": defaults.key_of(option), "value": value, "source": source}


def _lines(values: Iterable[dict[str, Any]], command: tuple[str, ...]) -> list[str]:
    """Return a line for each value; one that several commands have is told once."""
    told: dict[tuple[str, str, str], list[str]] = {}
    for one in values:
        value = one["value"] if isinstance(one["value"], str) else json.dumps(one["value"])
        told.setdefault((one["option"], value if one["value"] is not None else "", one["source"]), []).append(
            one["command"]
        )
    if not told:
        return []
    rows = [("OPTION", "VALUE", "FROM", "COMMANDS"), *((*key, _names(names)) for key, names in told.items())]
    return render.table(row if len(command) != 1 else row[:3] for row in rows)


def _names(names: list[str]) -> str:
    more = len(names) - COMMANDS_SHOWN
    return ", ".join(names[:COMMANDS_SHOWN]) + (f" and {more} more" if more > 0 else "")
