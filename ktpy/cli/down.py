"""`ktpy down` ends what `ktpy up` began."""

import sys
from pathlib import Path

import click

from ktpy.cli import render
from ktpy.cli.options import output, verbose
from ktpy.cli.up import Shower, file_option
from ktpy.daemon.caller import Caller
from ktpy.daemon.process_group import end_orphans
from ktpy.daemon.runtime import COMMAND, RuntimeDirectory


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@file_option
@output
@verbose
def down(names: tuple[str, ...], file: Path, output: str) -> None:
    """End everything that `ktpy up` began for ktpy.yaml, or the entries NAME, and wait until all of it is undone.

    What was begun without `ktpy up`, or for another file, goes on, and is told. The file itself may be gone.

    \b
    ktpy down
    ktpy down mesh-web
    """
    from ktpy.sessions import up as use_case

    runtime, file = RuntimeDirectory.of(Caller.become()), file.resolve()
    show = Shower(is_json=output == "json")
    with runtime.one_up_or_down():
        if count := end_orphans(runtime, COMMAND):
            render.on_standard_error(f"{count} of your commands had lost its ktpy, which was killed, and is ended too.")
        sessions, silent = use_case.running(runtime)
        ours = [one for one in use_case.of_file(sessions, file) if not names or one.name in names]
        for outcome in use_case.down(ours):
            show.outcome(outcome)
    if not names or {*names} - {one.name for one in ours}:
        for outcome in use_case.not_answering(silent):
            show.outcome(outcome)
    left = [one for one in sessions if one not in ours]
    if output == "json":
        told = [{"name": one.name, "file": one.status.up.file if one.status.up else None} for one in left]
        render.say_json({"file": str(file), "entries": show.told, "left": told})
    else:
        if not ours and not show.exit_code:
            of_names = f" of the name {' or '.join(names)}" if names else ""
            render.say(f"`ktpy up` has begun nothing{of_names} for {file} that stands.")
        if left:
            render.say(f"What goes on: {', '.join(one.name for one in left)}. `ktpy status` shows it.")
    sys.exit(show.exit_code)
