"""The grammar of the commands, by which `ktpy.completion` reads a command line without loading them."""

from collections.abc import Sequence
from typing import cast

import click

from ktpy.cli.defaults import default_map
from ktpy.cli.main import cli
from ktpy.completion.line import NOTHING, Grammar
from ktpy.daemon.settings import found


def grammar() -> Grammar:
    return grammar_of(cli)


def defaults(path: Sequence[str]) -> dict[str, str]:
    """Return what files say of the options of the command at `path` that are a text. Raises UsageError."""
    name, *inner = path
    defaults = default_map(cli.commands[name], name, found(), cli.commands)
    for one in inner:
        defaults = defaults[one]
    return {name: value for name, value in defaults.items() if isinstance(value, str)}


def grammar_of(command: click.Command, parent: click.Context | None = None) -> Grammar:
    """Return the grammar of a command and of those below it."""
    context = click.Context(command, parent=parent, info_name=command.name, **command.context_settings)
    parameters = [(one, _parameter(one, context)) for one in command.get_params(context)]
    names = command.list_commands(context) if isinstance(command, click.Group) else []
    below = {name: cast(click.Group, command).get_command(context, name) for name in names}
    return {
        "help": command.get_short_help_str(),
        "options": [told for one, told in parameters if isinstance(one, click.Option) and not one.hidden],
        "arguments": [told for one, told in parameters if isinstance(one, click.Argument)],
        "commands": {name: grammar_of(one, context) for name, one in below.items() if one and not one.hidden},
    }


def _parameter(parameter: click.Parameter, context: click.Context) -> Grammar:
    is_flag = isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count)
    return {
        "name": parameter.name,
        "flags": [*parameter.opts, *parameter.secondary_opts] if isinstance(parameter, click.Option) else [],
        "help": (parameter.help or "") if isinstance(parameter, click.Option) else "",
        "env": parameter.envvar,
        "repeats": parameter.multiple or parameter.nargs < 0,
        "completes": None if is_flag else _completes(parameter, context),
    }


def _completes(parameter: click.Parameter, context: click.Context) -> str | list[str]:
    """Return the kind of names that complete a value, or all values there are."""
    offered = parameter.shell_complete(context, "")
    kinds = [one.type for one in offered if one.type != "plain"]
    return kinds[0] if kinds else [one.value for one in offered] or NOTHING
