"""Several commands share these options."""

import re
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

from ktpy.cli.complete import context_names, namespace_names

Decorated = Callable[..., Any]

MOST_FOR_S = 7 * 86400.0


def _set_verbosity(ctx: click.Context, _parameter: click.Parameter, count: int) -> None:
    from ktpy.cli import verbosity  # brings logging, which `ktpy --help` need not wait for

    meta = ctx.find_root().meta
    meta["ktpy.verbosity"] = count = max(count, meta.get("ktpy.verbosity", 0))  # before the command, or after it
    verbosity.say_more(count)


def _set_output(ctx: click.Context, _parameter: click.Parameter, output: str) -> str:
    ctx.meta["ktpy.is_json"] = output == "json"  # errors from now on are of this form, wherever it was chosen
    return output


class CommandTaker(click.Command):
    """A CommandTaker takes the user's own COMMAND after `--`, and only there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        own, command = args[:end], tuple(args[end + 1 :])
        ctx.allow_extra_args = True
        super().parse_args(ctx, list(own))
        if ctx.args and not ctx.resilient_parsing:
            raise click.UsageError(self.too_much(ctx), ctx)
        ctx.params["command"] = command
        return ctx.args

    def too_much(self, ctx: click.Context) -> str:
        """Return what is said about arguments that there are not."""
        words = " ".join(ctx.args)
        return f"{ctx.args[0]} is too much. If it is a command, say: {ctx.command_path} ... -- {words}"

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


Parsed = TypeVar("Parsed")


def parsed(parse: Callable[[str], Parsed], values: tuple[str, ...]) -> tuple[Parsed, ...]:
    """Read what an option was given. Raises click.BadParameter with the sentence of `parse`'s ValueError."""
    try:
        return tuple(map(parse, values))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def each(parse: Callable[[str], Parsed]) -> Callable[..., tuple[Parsed, ...]]:
    """Return the callback of a repeatable option each of whose values `parse` reads."""

    def callback(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Parsed, ...]:
        return parsed(parse, values)

    return callback


class Repeatable(click.Option):
    """A Repeatable option may be given several times; in its environment variable commas and blanks are between."""

    def value_from_envvar(self, ctx: click.Context) -> list[str] | None:
        text = self.resolve_envvar_value(ctx)
        return [part for part in re.split(r"[\s,]+", text) if part] if text else None


class Whole(click.IntRange):
    """A Whole is a whole number of a range."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            to = "" if self.max is None else f" to {self.max}"
            self.fail(f"{value} is no whole number from {self.min}{to}.", param, ctx)


class Duration(click.ParamType[float]):
    """A Duration is a number of seconds, or one with its unit: s, m or h."""

    name = "duration"

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):  # the default
            return value
        if not (match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smh]?)", value.strip())):
            self.fail(f"{value!r} is no duration (wanted: such as 90s, 10m or 2h)", param, ctx)
        seconds = float(match[1]) * {"h": 3600, "m": 60}.get(match[2], 1)
        if not 1 <= seconds <= self._most_s:
            self.fail(f"{value} is not between 1s and {self._most_s / 3600:g}h", param, ctx)
        return seconds


verbose = click.option(
    "-v",
    "--verbose",
    count=True,
    expose_value=False,
    envvar="KTPY_VERBOSE",
    is_eager=True,
    callback=_set_verbosity,
    help="Say more; -vv also shows tracebacks.",
)


def printed(*more: str, note: str = "") -> Callable[[Decorated], Decorated]:
    """Return the option that says how the result is printed: as text, as JSON, or as one `more`, told in a `note`."""
    return click.option(
        "--output",
        "-o",
        type=click.Choice(["text", "json", *more]),
        default="text",
        show_default=True,
        envvar="KTPY_OUTPUT",
        callback=_set_output,
        help=f"How to print the result{note}.",
    )


output = printed()


time_limit = click.option(
    "--for",
    "for_s",
    type=Duration(MOST_FOR_S),
    default=0.0,
    envvar="KTPY_FOR",
    metavar="DURATION",
    help="End by itself after so long (90s, 30m, 2h).",
)


def decorated(command: Decorated, *decorators: Callable[[Decorated], Decorated]) -> Decorated:
    """Return the command with what each of these adds; help shows the last first."""
    return reduce(lambda so_far, decorate: decorate(so_far), decorators, command)


def cluster(namespace: str) -> Callable[[Decorated], Decorated]:
    """Add the options that choose the cluster, as in kubectl; `namespace` is the help of that option."""

    def decorate(command: Decorated) -> Decorated:
        return decorated(
            command,
            click.option(
                "--kubeconfig",
                type=click.Path(readable=False),  # whether it can be read is told with its reason later
                envvar="KTPY_KUBECONFIG",
                metavar="FILE",
                help="Kubeconfig file, or a list of them; as KUBECONFIG.",
            ),
            click.option(
                "--context",
                envvar="KTPY_CONTEXT",
                metavar="NAME",
                shell_complete=context_names,
                help="Kubeconfig context; the current one by default.",
            ),
            click.option(
                "--namespace",
                "-n",
                envvar="KTPY_NAMESPACE",
                metavar="NAME",
                shell_complete=namespace_names,
                help=namespace,
            ),
        )

    return decorate
