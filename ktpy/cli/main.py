"""This module defines the command group, and how an error reaches the user."""

import os
import shutil
import signal
import textwrap
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from typing import IO, Any

import click
from click.exceptions import NoArgsIsHelpError

from ktpy import __version__
from ktpy.cli import render
from ktpy.cli.options import verbose
from ktpy.errors import KtpyError

CLICK_LEAST_COLUMNS = 52
"""On a narrower terminal click writes help for this one, unless it is told better."""


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
    "port-forward": "`ktpy forward` leads ports of this laptop to a service.",
    "disconnect": "`ktpy quit` ends what connect began, `ktpy leave` ends an exchange, mesh, preview, tap or forward.",
    "gather-logs": "`ktpy report` writes logs, and what else a bug report needs, into one file.",
    "mirror": "`ktpy tap` gets copies of a service's requests.",
}
"""What other tools call it."""
_OPTIONS_ELSEWHERE = {
    "--port": "`--expose LOCAL[:REMOTE]` names the ports.",
    "--json": "`--output json` prints JSON.",
    "-A": "`--namespace NAME` chooses one namespace.",
    "--all-namespaces": "`--namespace NAME` chooses one namespace.",
}


_GROUPS = {
    "Begin here": {
        "connect": ("connect", "Reach the cluster's addresses and names from here"),
        "run": ("run", "Run a program in the cluster's network, without root"),
        "mesh": ("mesh", "Serve requests that carry your mark here"),
    },
    "Reach the cluster": {
        "forward": ("forward", "Lead ports of this laptop to services, without root"),
        "env": ("env", "Print the environment of a workload's pods"),
        "capture": ("capture", "Show the packets to and from the cluster"),
        "quit": ("quit_", "End what connect began"),
    },
    "Serve it from here": {
        "exchange": ("exchange", "Serve all requests of a service here"),
        "preview": ("preview", "Serve a new service from here"),
        "tap": ("tap", "Get copies of a service's requests here"),
        "watch": ("watch", "Show the requests that are served here, as they pass"),
        "gateway": ("gateway", "Keep a gateway between intercepts, and give it back"),
        "leave": ("leave", "End an exchange, mesh, preview, tap or forward"),
    },
    "Develop with others": {
        "dev": ("dev", "Develop a workload inside the cluster"),
        "up": ("up", "Begin what ktpy.yaml names, in the background"),
        "down": ("down", "End what up began"),
        "mcp": ("mcp", "Serve a coding agent, which looks, and changes if allowed"),
    },
    "See what runs": {
        "status": ("status", "Show what runs, and what has ended"),
        "list": ("list_", "Show services and who intercepts them"),
        "who": ("who", "Show who intercepts, develops or runs what"),
        "logs": ("logs_", "Show what a session in the background told"),
    },
    "Put right": {
        "clean": ("clean", "Undo what killed runs left"),
        "recover": ("recover", "Give a service back to its own pods"),
        "doctor": ("doctor", "Look for what keeps ktpy from working"),
        "report": ("report", "Write a file for a bug report, without names"),
    },
    "Set up": {
        "image": ("image", "Bring the agent image to a cluster of your own"),
        "config": ("config", "Show the defaults of options, and where they are set"),
        "rbac": ("rbac", "Print the rights that a user needs"),
        "completion": ("completion", "Print the script for tab completion"),
        "version": ("version", "Show the versions of both sides"),
        "help": ("help_", "Show the help of a command"),
    },
}
"""By the heading in help and the name of a command: its variable in the module of that name, and its line of help."""
_WHATEVER_FILES_SAY = frozenset(
    (
        *("quit", "leave", "down", "clean"),
        *("status", "list", "who", "logs", "watch", "capture", "doctor", "report", "version", "completion", "help"),
    )
)
"""Commands that end or show something: a file of defaults that is wrong keeps none of them. `recover` is not one, as it
would give back a service of another cluster than the file names."""
_TOLD = {name: told for group in _GROUPS.values() for name, told in group.items()}


class _Loaded(MutableMapping[str, click.Command]):
    """The commands, each loaded when it is asked for: the others, and `ktpy --help`, need not wait for it."""

    def __init__(self) -> None:
        self._here: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._here:
            variable, line = _TOLD[name]
            command = getattr(import_module(f"ktpy.cli.{name}"), variable)
            command.short_help = line
            self._here[name] = command
        return self._here[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._here[name] = command

    def __delitem__(self, name: str) -> None:
        del self._here[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_TOLD)

    def __len__(self) -> int:
        return len(_TOLD)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)  # as a user meets them, not by the alphabet

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)  # first, as `kubectl --help` has it
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        width = max(map(len, _TOLD))
        for heading, group in _GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{width}}", line) for name, (_, line) in group.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] not in self.commands and (sentence := _COMMANDS_ELSEWHERE.get(args[0])):
            raise click.UsageError(f"There is no command {args[0]}: {sentence}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None:
            from ktpy.cli.defaults import default_map, usable_map  # here: `ktpy --help` need not wait for it
            from ktpy.daemon.settings import found

            said = (
                usable_map(command, name, self.commands, render.on_standard_error)
                if name in _WHATEVER_FILES_SAY
                else default_map(command, name, found(), self.commands)
            )
            ctx.default_map = {name: said}
        return name, command, rest

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["ktpy.is_json"] = _wants_json(args)
        if (columns := shutil.get_terminal_size().columns) < CLICK_LEAST_COLUMNS:
            ctx.terminal_width = max(columns - 2, 20)
        with _usage_errors(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _usage_errors(ctx):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            render.say("Interrupted.", err=True)
            ctx.exit(128 + signal.SIGINT)
        except KtpyError as error:
            if ctx.find_root().meta.get("ktpy.verbosity", 0) >= 2:
                render.say(*textwrap.indent(traceback.format_exc(), "  ").splitlines(), err=True)
            if ctx.meta["ktpy.is_json"]:
                raise _JsonError(error.message, error.hint, error.exit_code) from error
            raise _ShownError(error) from error


@contextmanager
def _usage_errors(ctx: click.Context) -> Iterator[None]:
    """Tell wrong usage in the block with the words that other tools have for it, or with the place of the file that is
    wrong, and as JSON where that is wanted."""
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        told = error
        if isinstance(error, click.NoSuchOption) and (sentence := _of_other_tools(error)):
            told = click.UsageError(f"No such option {error.option_name}: {sentence}", error.ctx)
        elif ctx.default_map:
            from ktpy.cli.defaults import place_of

            if place := place_of(error):
                told = click.UsageError(f"{place}: {error.format_message()}", error.ctx)
        is_json = ctx.meta["ktpy.is_json"]
        raise _JsonError(told.format_message(), None, told.exit_code) if is_json else told from error


def _of_other_tools(error: click.NoSuchOption) -> str | None:
    """Return what an option is called here, where the command has that."""
    sentence = _OPTIONS_ELSEWHERE.get(error.option_name, "")
    options = {option for one in error.ctx.command.params for option in one.opts} if error.ctx else ()
    return sentence if any(sentence.startswith(f"`{one} ") for one in options) else None


def _wants_json(arguments: list[str]) -> bool:
    """Return whether a command line asks for JSON, also where it cannot be understood."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    asked = {("-o", "json"), ("--output", "json")} & set(pairwise(own)) or {"-ojson", "--output=json"} & set(own)
    return bool(asked) or os.environ.get("KTPY_OUTPUT") == "json"


@click.group(
    cls=_Commands,
    commands=_Loaded(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="ktpy")
@verbose
def cli() -> None:
    """Make this laptop part of a Kubernetes cluster, with nothing installed in the cluster."""
