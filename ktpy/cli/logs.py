"""`ktpy logs` shows what sessions in the background have told."""

import time
from collections.abc import Callable
from pathlib import Path

import click

from ktpy.cli import render
from ktpy.cli.complete import log_names
from ktpy.cli.options import output, verbose
from ktpy.daemon.caller import Caller
from ktpy.daemon.logs import event_of, logs
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import LogAbsent

FOLLOW_S = 0.5


@click.command(name="logs")
@click.argument("name", required=False, shell_complete=log_names)
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@output
@verbose
def logs_(name: str | None, follow: bool, output: str) -> None:
    """Show what a session that was begun with --detach has told: its steps, its notes, how it ended.

    NAME is connect, or a command with what it serves: exchange-web. Without it, the session that spoke last is shown.

    \b
    ktpy logs
    ktpy logs exchange-web -f
    """
    found = logs(RuntimeDirectory.of(Caller.become()))
    if name is None and found:
        name = list(found)[-1]
    if name not in found:
        wanted = f"session {name}" if name else "a session in the background"
        raise LogAbsent(f"There is no log of {wanted}.", hint=f"There are: {', '.join(found)}." if found else None)
    _show(found[name], _show_json if output == "json" else _show_text, follow=follow)


def _show(path: Path, show: Callable[[str], None], *, follow: bool) -> None:
    with path.open(errors="replace") as log:
        while True:
            for line in log:
                show(line.rstrip("\n"))
            if not follow:
                return
            time.sleep(FOLLOW_S)


def _show_text(line: str) -> None:
    if event := event_of(line):
        render.event(event)
    else:
        render.say(line)


def _show_json(line: str) -> None:
    if event := event_of(line):
        render.event_json(event)
    else:
        render.say_json({"kind": "text", "text": line}, indent=None)
