"""The manual page, made of the help of every command."""

from collections.abc import Iterator
from inspect import cleandoc

import click

from ktpy import __version__


def page(cli: click.Group) -> str:
    """Return the page in the man(7) macros, which `man -l` shows."""
    ctx = click.Context(cli, info_name="ktpy")
    lines = [f'.TH KTPY 1 "" "ktpy {__version__}"', ".SH NAME", _text(f"ktpy - {cli.get_short_help_str(200)}")]
    lines += [".SH SYNOPSIS", _text(" ".join(["ktpy", *cli.collect_usage_pieces(ctx)])), ".SH COMMANDS"]
    lines += _commands(ctx, cli)
    lines += [
        ".SH ENVIRONMENT",
        _text("The options of connect, exchange, mesh, preview and tap: --pod-timeout is KTPY_POD_TIMEOUT."),
    ]
    return "".join(f"{line}\n" for line in lines)


def _commands(ctx: click.Context, group: click.Group) -> Iterator[str]:
    for name, command in group.commands.items():
        own = click.Context(command, parent=ctx, info_name=name)
        yield from _command(own)
        if isinstance(command, click.Group):
            yield from _commands(own, command)


def _command(ctx: click.Context) -> Iterator[str]:
    yield f".SS {_text(' '.join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)]))}"
    for paragraph in cleandoc(ctx.command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):  # click's mark for lines that stay as they are
            yield from [".PP", ".nf", *map(_text, paragraph.splitlines()[1:]), ".fi"]
        else:
            yield from [".PP", _text(" ".join(paragraph.split()))]
    for parameter in ctx.command.get_params(ctx):
        if record := parameter.get_help_record(ctx):
            yield from [".TP", _text(record[0]), _text(record[1])]


def _text(text: str) -> str:
    """Return text as roff takes it: a backslash, a hyphen and a full stop at the begin of a line mean themselves."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
