"""`ktpy dev terminal`, `run`, `build`, `debug` and `logs`: what is done in a dev container that is there."""

import sys
from dataclasses import replace
from typing import Any

import click

from ktpy.cli import dev_config, render
from ktpy.cli.complete import target_names
from ktpy.cli.options import CommandTaker, cluster, decorated, parsed, verbose
from ktpy.cli.workload_options import named
from ktpy.daemon.background import perform
from ktpy.daemon.caller import Caller
from ktpy.observe.events import Ended, Event, Notice
from ktpy.sessions.options import DevOptions, Exec, Publish, parse_forward

reload_option = click.option(
    "--reload",
    is_flag=True,
    envvar="KTPY_DEV_RELOAD",
    help="Start COMMAND again when files of its folder change, but for what .gitignore names.",
)


def there(command: Any) -> Any:
    """Add what a command takes that names a workload which is developed."""
    return decorated(
        command,
        verbose,
        cluster(namespace="Namespace of the workload."),
        click.argument("workload", shell_complete=target_names),
    )


def _of_command(command: Any) -> Any:
    """Add what a command takes that runs another in a dev container."""
    folder = click.option(
        "--work-dir", default="", envvar="KTPY_DEV_WORK_DIR", metavar="DIR", help="Folder of COMMAND."
    )
    return folder(dev_config.file_option(command))


@click.command(short_help="Open a terminal in a dev container")
@there
@click.option("--shell", default="", envvar="KTPY_DEV_SHELL", metavar="PROGRAM", help="Shell; bash or sh without it.")
@click.option("--work-dir", default="", envvar="KTPY_DEV_WORK_DIR", metavar="DIR", help="Folder of the terminal.")
def terminal(workload: str, shell: str, work_dir: str, **place: Any) -> None:
    """Open a terminal in the dev container of WORKLOAD, which stays when the terminal ends.

    \b
    ktpy dev terminal web
    """
    _visit(workload, Exec((), shell, work_dir), place)


@click.command(cls=CommandTaker, short_help="Run a command in a dev container")
@there
@_of_command
@reload_option
def run(workload: str, work_dir: str, config: str | None, reload: bool, command: tuple[str, ...], **place: Any) -> None:
    """Run COMMAND in the dev container of WORKLOAD, or what the configuration runs there; ends with its exit code.

    \b
    ktpy dev run web -- go test ./...
    """
    _run(workload, DevOptions("", config=config, command=command, work_dir=work_dir, reloads=reload), place)


@click.command(cls=CommandTaker, short_help="Build in a dev container")
@there
@_of_command
def build(workload: str, work_dir: str, config: str | None, command: tuple[str, ...], **place: Any) -> None:
    """Run what the configuration builds with in the dev container of WORKLOAD, or COMMAND; ends with its exit code.

    \b
    ktpy dev build web
    """
    _run(workload, DevOptions("", config=config, command=command, work_dir=work_dir), place, builds=True)


@click.command(cls=CommandTaker, short_help="Debug a program in a dev container")
@there
@_of_command
@reload_option
@click.option(
    "--port",
    callback=lambda _context, _parameter, text: None if text is None else parsed(parse_forward, (text,))[0],
    envvar="KTPY_DEV_DEBUG_PORT",
    metavar="[LOCAL:]PORT",
    help="Where the debugger listens in the container; port LOCAL of this laptop leads there meanwhile.",
)
def debug(
    workload: str,
    work_dir: str,
    config: str | None,
    reload: bool,
    port: Publish | None,
    command: tuple[str, ...],
    **place: Any,
) -> None:
    """Run COMMAND, which starts a debugger, in the dev container of WORKLOAD, or what the configuration debugs with.

    While it runs, the debugger's port is one of this laptop. ktpy prints what VS Code and JetBrains' editors need to
    attach to Python (debugpy), Node.js, Go (Delve) and Java (JDWP), and ends with COMMAND's exit code.

    \b
    ktpy dev debug web
    ktpy dev debug web --port 5678 -- python -m debugpy --listen 5678 --wait-for-client app.py
    """
    from ktpy.sessions import dev_debug
    from ktpy.sessions.once import ClusterRef

    target, place["namespace"] = named(workload, place["namespace"])
    options = DevOptions(target, config=config, command=command, work_dir=work_dir, reloads=reload)
    cluster_ref = ClusterRef(**place)
    caller = Caller.become()
    sys.exit(perform(lambda report: dev_debug.run(cluster_ref, options, port, caller, report), _show, caller, None))


@click.command(short_help="Show what programs in a dev container have printed")
@there
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
def logs(workload: str, *, follow: bool, **place: Any) -> None:
    """Show what programs in the dev container of WORKLOAD have printed, whoever has started them.

    That is the last megabyte, or two, of `dev start -- COMMAND`, `run`, `build` and `debug`, with a line where each
    begins and ends; not of terminals.

    \b
    ktpy dev logs web -f
    """
    from ktpy.sessions import dev_visit
    from ktpy.sessions.once import ClusterRef

    target, place["namespace"] = named(workload, place["namespace"])
    cluster_ref, caller = ClusterRef(**place), Caller.become()
    sys.exit(
        perform(lambda report: dev_visit.logs(cluster_ref, target, caller, report, follows=follow), _show, caller, None)
    )


def _run(workload: str, options: DevOptions, place: dict[str, Any], *, builds: bool = False) -> None:
    from ktpy.sessions.dev_config_in_cluster import texts
    from ktpy.sessions.dev_configured import configured_run

    target, namespace = named(workload, place["namespace"])
    options = replace(options, **{**place, "target": target, "namespace": namespace})
    Caller.become()
    asked = configured_run(options, render.on_error_output, texts, builds=builds)
    if not asked.words:
        verb = "build" if builds else "run"
        raise click.UsageError(f"Say what to run, after two hyphens: ktpy dev {verb} WORKLOAD -- COMMAND")
    _visit(workload, asked, place)


def _visit(workload: str, asked: Exec, options: dict[str, Any]) -> None:
    from ktpy.sessions import dev_visit
    from ktpy.sessions.once import ClusterRef

    target, options["namespace"] = named(workload, options["namespace"])
    place, caller = ClusterRef(**options), Caller.become()
    sys.exit(perform(lambda report: dev_visit.run(place, target, asked, caller, report), _show, caller, None))


def _show(event: Event) -> None:
    if isinstance(event, Notice) or (isinstance(event, Ended) and event.is_error):
        render.on_error_output(event)


COMMANDS = (terminal, run, build, debug, logs)
