"""This module defines the command group, and how an error reaches the user."""

import signal
import traceback
from typing import IO, Any

import click

from ktpy import __version__
from ktpy.cli import render
from ktpy.cli.clean import clean
from ktpy.cli.completion import completion
from ktpy.cli.connect import connect
from ktpy.cli.exchange import exchange
from ktpy.cli.leave import leave
from ktpy.cli.list import list_
from ktpy.cli.mesh import mesh
from ktpy.cli.preview import preview
from ktpy.cli.quit import quit_
from ktpy.cli.recover import recover
from ktpy.cli.status import status
from ktpy.errors import KtpyError


class _ShownError(click.ClickException):
    """A _ShownError is a KtpyError as click shows it: its sentence, its hint, its exit code."""

    def __init__(self, error: KtpyError) -> None:
        super().__init__(error.message)
        self.error = error
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it from the instance all the same

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002 - click's signature
        render.failure(self.error.message, self.error.hint)


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            render.say("Interrupted.", err=True)
            ctx.exit(128 + signal.SIGINT)
        except KtpyError as error:
            if ctx.find_root().meta.get("ktpy.verbosity", 0) >= 2:
                traceback.print_exc()
            raise _ShownError(error) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ktpy")
def cli() -> None:
    """Make this laptop part of a Kubernetes cluster, with nothing installed in the cluster."""


for command in (connect, exchange, mesh, preview, list_, status, leave, quit_, clean, recover, completion):
    cli.add_command(command)
