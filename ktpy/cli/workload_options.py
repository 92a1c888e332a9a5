"""The options that name a workload, and what the user wants otherwise in its environment."""

from collections.abc import Callable
from pathlib import Path

import click

from ktpy.cli.complete import target_names
from ktpy.cli.intercept_options import namespace_named, target_reference
from ktpy.cli.options import Decorated, Repeatable, decorated, parsed
from ktpy.sessions import env_file


def workload(*, required: bool) -> Callable[[Decorated], Decorated]:
    """Add the argument WORKLOAD, and the options for one of its containers and for a pod of it that runs."""

    def decorate(command: Decorated) -> Decorated:
        return decorated(
            command,
            click.option(
                "--from-pod",
                is_flag=True,
                help="The environment of a pod of it that runs, with what its image sets; needs the right to exec.",
            ),
            click.option("--container", "-c", metavar="NAME", help="The container, where its pods have several."),
            click.argument("workload", required=required, shell_complete=target_names),
        )

    return decorate


def named(text: str, namespace: str | None) -> tuple[str, str | None]:
    """Return the workload and the namespace that the user named. Raises click.UsageError."""
    reference = target_reference(text)
    if reference.namespace:
        text = reference.name if reference.is_bare else str(reference)
    return text, namespace_named(reference, namespace)


def _assignments(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    return dict(parsed(env_file.assignment, values))


def _files(_context: click.Context, _parameter: click.Parameter, paths: tuple[Path, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        try:
            found |= env_file.read(path)
        except OSError as error:
            raise click.BadParameter(f"{path} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return found


def environment_edits(command: Decorated) -> Decorated:
    """Add the options; the command gets `env`, `env_file` and `unset`."""
    return decorated(
        command,
        click.option("--unset", cls=Repeatable, multiple=True, metavar="NAME", help="Leave this variable out."),
        click.option(
            "--env-file",
            type=click.Path(path_type=Path),
            multiple=True,
            callback=_files,
            metavar="FILE",
            help="Set the variables of this file, lines of NAME=VALUE.",
        ),
        click.option(
            "--env", "-e", multiple=True, callback=_assignments, metavar="NAME=VALUE", help="Set this variable."
        ),
    )
