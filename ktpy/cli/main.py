"""This module defines the command group, and how an error reaches the user."""

import os
import signal
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import IO, Any

import click
from click.exceptions import NoArgsIsHelpError

from ktpy import __version__
from ktpy.cli import render
from ktpy.cli.clean import clean
from ktpy.cli.completion import completion
from ktpy.cli.connect import connect
from ktpy.cli.exchange import exchange
from ktpy.cli.gateway import gateway
from ktpy.cli.leave import leave
from ktpy.cli.list import list_
from ktpy.cli.logs import logs_
from ktpy.cli.man import page
from ktpy.cli.mesh import mesh
from ktpy.cli.options import verbose
from ktpy.cli.preview import preview
from ktpy.cli.quit import quit_
from ktpy.cli.rbac import rbac
from ktpy.cli.recover import recover
from ktpy.cli.status import status
from ktpy.cli.version import version
from ktpy.errors import KtpyError


class _ShownError(click.ClickException):
    """A _ShownError is a KtpyError as click shows it: its sentence, its hint, its exit code."""

    def __init__(self, error: KtpyError) -> None:
        super().__init__(error.message)
        self.error = error
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it from the instance all the same

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002 - click's signature
        render.failure(self.error.message, self.error.hint)


class _JsonError(click.ClickException):
    """A _JsonError is what goes wrong with a command whose output is JSON: an object on standard error."""

    def __init__(self, message: str, hint: str | None, exit_code: int) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code  # type: ignore[misc]  # as above

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002 - click's signature
        render.say_json({"error": self.message, "hint": self.hint, "exit_code": self.exit_code}, err=True, indent=None)


_COMMANDS_ELSEWHERE = {
    "intercept": "`ktpy exchange` takes all requests of a port, `ktpy mesh` those that carry a header.",
    "disconnect": "`ktpy quit` ends what connect began, `ktpy leave` ends an exchange, mesh or preview.",
    "up": "`sudo ktpy connect` connects.",
    "down": "`ktpy quit` ends what connect began.",
}
"""What other tools call it."""
_OPTIONS_ELSEWHERE = {
    "--port": "`--expose LOCAL[:REMOTE]` names the ports.",
    "--json": "`--output json` prints JSON.",
    "-A": "`--namespace NAME` chooses one namespace.",
    "--all-namespaces": "`--namespace NAME` chooses one namespace.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)  # as a user meets them, not by the alphabet

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] not in self.commands and (sentence := _COMMANDS_ELSEWHERE.get(args[0])):
            raise click.UsageError(f"There is no command {args[0]}: {sentence}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["ktpy.is_json"] = is_json = _wants_json(args)
        with _usage_errors(is_json=is_json):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        is_json = ctx.meta["ktpy.is_json"]
        try:
            with _usage_errors(is_json=is_json):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            render.say("Interrupted.", err=True)
            ctx.exit(128 + signal.SIGINT)
        except KtpyError as error:
            if ctx.find_root().meta.get("ktpy.verbosity", 0) >= 2:
                render.say(*textwrap.indent(traceback.format_exc(), "  ").splitlines(), err=True)
            if is_json:
                raise _JsonError(error.message, error.hint, error.exit_code) from error
            raise _ShownError(error) from error


@contextmanager
def _usage_errors(*, is_json: bool) -> Iterator[None]:
    """Tell wrong usage in the block with the words that other tools have for it, and as JSON where that is wanted."""
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        told = error
        if isinstance(error, click.NoSuchOption) and (sentence := _OPTIONS_ELSEWHERE.get(error.option_name)):
            told = click.UsageError(f"No such option {error.option_name}: {sentence}", error.ctx)
        raise _JsonError(told.format_message(), None, told.exit_code) if is_json else told from error


def _wants_json(arguments: list[str]) -> bool:
    """Return whether a command line asks for JSON, also where it cannot be understood."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    asked = {("-o", "json"), ("--output", "json")} & set(pairwise(own)) or {"-ojson", "--output=json"} & set(own)
    return bool(asked) or os.environ.get("KTPY_OUTPUT") == "json"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ktpy")
@verbose
def cli() -> None:
    """Make this laptop part of a Kubernetes cluster, with nothing installed in the cluster."""


@click.command(name="help", short_help="Show the help of a command")
@click.argument("command", required=False)
@click.option("--man", is_flag=True, help="Print the manual page, with the help of every command.")
@click.pass_context
def help_(ctx: click.Context, command: str | None, man: bool) -> None:
    """Show the help of a command.

    \b
    ktpy help exchange
    ktpy help --man | man -l -
    """
    if man:
        click.echo(page(cli), nl=False)
        return
    if command is None:
        click.echo(cli.get_help(ctx.find_root()))
        return
    _, found, _ = cli.resolve_command(ctx.find_root(), [command])
    with found.make_context(command, [], parent=ctx.find_root(), resilient_parsing=True) as shown:
        click.echo(found.get_help(shown))


for command in (connect, status, quit_, exchange, mesh, preview, leave, gateway, list_, logs_):
    cli.add_command(command)
for command in (clean, recover, rbac, completion, version, help_):
    cli.add_command(command)
