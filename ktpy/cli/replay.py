"""Every command first puts right what a killed run left on this laptop."""

import os

import click

from ktpy.errors import KtpyError
from ktpy.helper import journal
from ktpy.helper.launch import WITHOUT_A_PASSWORD, launch


def restore_what_killed_runs_left() -> None:
    """Undo stale journals as far as that needs no password, and say so on standard error."""
    stale = journal.stale()
    if not stale:
        return
    from ktpy.helper import replay

    try:
        reports = replay.recover(launch(() if os.geteuid() == 0 else WITHOUT_A_PASSWORD))
    except KtpyError:
        changes = ", ".join(summary for left in stale for summary in left.pending)
        click.echo(f"An earlier ktpy was killed and left: {changes}. `sudo ktpy clean` undoes it.", err=True)
        return
    for report in reports:
        click.echo(replay.describe(report, "An earlier ktpy was killed"), err=True)
