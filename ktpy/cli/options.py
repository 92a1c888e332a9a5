"""Options that several commands share."""

import logging
from collections.abc import Callable
from typing import Any

import click

Decorated = Callable[..., Any]


def _set_verbosity(ctx: click.Context, _parameter: click.Parameter, count: int) -> None:
    ctx.find_root().meta["ktpy.verbosity"] = count
    level = {0: logging.WARNING, 1: logging.INFO}.get(count, logging.DEBUG)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ktpy").setLevel(level)


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

output = click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="KTPY_OUTPUT",
    help="How to print the result.",
)
