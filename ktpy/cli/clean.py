"""`ktpy clean`: undo what a killed run left on this laptop."""

import click

from ktpy.cli.options import verbose
from ktpy.errors import HelperFailed
from ktpy.helper.launch import launch


@click.command()
@verbose
def clean() -> None:
    """Undo what a killed ktpy left on this laptop: resolver, routes, links.

    In the cluster there is nothing to do: a shadow pod without a laptop removes itself within two minutes.
    """
    from ktpy.session import recovery  # brings asyncio, which `ktpy --help` need not wait for

    reports = recovery.recover(launch())
    for report in reports:
        click.echo(recovery.describe(report, "An earlier ktpy was killed"))
    if any(report.failures for report in reports):
        raise HelperFailed("Not everything could be undone.", hint="What failed stays in the journal for the next try.")
    if not reports:
        click.echo("Nothing to clean: no earlier run left anything on this laptop.")
