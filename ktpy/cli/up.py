"""`ktpy up` begins what a file of a team names: connection, intercepts, ports and commands."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.options import Repeatable, output, verbose
from ktpy.daemon import settings
from ktpy.daemon.caller import Caller
from ktpy.errors import UsageError, unknown

file_option = click.option(
    "--file",
    "-f",
    type=click.Path(dir_okay=False, path_type=Path),
    default="ktpy.yaml",
    show_default=True,
    envvar="KTPY_FILE",
    metavar="FILE",
    help="What names it all.",
)
_WORDS = {"none": "unchanged", "start": "started", "restart": "restarted", "end": "ended"}
_DRY_WORDS = {"none": "stays", "start": "would start", "restart": "would restart", "end": "would end"}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@file_option
@click.option(
    "--profile",
    "profiles",
    cls=Repeatable,
    multiple=True,
    envvar="KTPY_PROFILE",
    metavar="NAME",
    help="Begin the entries of this profile, too. Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be done; change nothing.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of ktpy.yaml, for editors.")
@output
@verbose
def up(
    names: tuple[str, ...],
    file: Path,
    profiles: tuple[str, ...],
    output: str,
    *,
    dry_run: bool,
    schema: bool,
) -> None:
    """Begin everything that ktpy.yaml names, or the entries NAME (mesh-web, command-api), in the background.

    What stands already is left as it is; what is gone is begun again, what is told otherwise now is begun anew, and
    what the file does not name any more is ended. What fails leaves standing what stands: `ktpy down` ends it all.

    \b
    ktpy up
    ktpy up --profile pay --dry-run
    ktpy up -f shop/ktpy.yaml mesh-web
    """
    from ktpy.cli import up_entries
    from ktpy.cli.main import cli

    if schema:
        render.write(json.dumps(up_entries.schema(cli), indent=2))
        return
    from ktpy.sessions import up as use_case

    caller = Caller.become()
    file = file.resolve()
    if file.parent.is_dir():
        try:
            os.chdir(file.parent)  # paths in it are from there on
        except OSError as error:
            raise UsageError(f"The folder of {file} cannot be entered: {error.strerror}.") from None
    entries = up_entries.read(cli, file, profiles, os.environ, settings.found())
    known = [one.name for one in entries]
    for name in names:
        if name not in known:
            raise unknown(f"{file} has no entry {name}", name, known)
    entries = [replace(one, is_wanted=one.is_wanted or one.name in names) for one in entries]
    is_json = output == "json"
    show = Shower(is_json=is_json, is_dry=dry_run)
    for outcome in use_case.up(entries, file, caller, show.tell, names, is_dry=dry_run):
        show.outcome(outcome)
    if is_json:
        render.say_json({"file": str(file), "dry_run": dry_run, "entries": show.told})
    elif not show.told:
        render.say(f"{file} names nothing to begin.")
    elif all(one["change"] == "none" and not one["reason"] for one in show.told):
        render.say("Everything stands; nothing was changed.")
    sys.exit(show.exit_code)


class Shower:
    """A Shower prints outcomes as they come, or keeps them for JSON."""

    def __init__(self, *, is_json: bool, is_dry: bool = False) -> None:
        self._is_json, self._words = is_json, _DRY_WORDS if is_dry else _WORDS
        self.told: list[dict[str, Any]] = []
        self.exit_code = 0

    def tell(self, name: str, text: str) -> None:
        render.write(render.note(f"{name}: {text}"), err=True)

    def outcome(self, outcome: Any) -> None:
        step, failure = outcome.step, outcome.failure
        error = {"error": failure.message, "hint": failure.hint, "exit_code": failure.exit_code} if failure else None
        self.told.append(
            {"name": step.name, "kind": step.kind, "change": step.change, "reason": step.reason, "failure": error}
        )
        if failure:
            self.exit_code = self.exit_code or failure.exit_code
        if self._is_json:
            return
        if failure:
            render.failure(f"{step.name}: {failure.message}", failure.hint)
            return
        word = click.style(f"{self._words[step.change]:<13}", fg=None if step.change == "none" else "green")
        render.write(f"{word} {render.clean(step.name)}{f' ({render.clean(step.reason)})' if step.reason else ''}")
        if outcome.status is not None:
            for line in render.ready(outcome.status, None):
                render.write(f"  {line}")
