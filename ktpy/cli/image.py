"""`ktpy image push`: the agent image for a cluster of one's own."""

from dataclasses import asdict
from pathlib import Path

import click

from ktpy.cli import render
from ktpy.cli.options import output as output_option
from ktpy.cli.options import verbose
from ktpy.daemon import settings
from ktpy.daemon.caller import Caller

archive = click.option(
    "--archive",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Archive of the image, as `docker save` or scripts/build-agent-image writes it.",
)
remember = click.option(
    "--no-remember",
    "remember",
    flag_value=False,
    default=True,
    help="Leave the default of --image, in ~/.config/ktpy/config.toml, as it is.",
)


@click.group()
def image() -> None:
    """Bring the agent image, of which ktpy's pods are, to a cluster of your own.

    \b
    ktpy image push registry.example.org/team/ktpy-agent --archive FILE
    """


@image.command(short_help="Push the agent image to a registry")
@click.argument("name", metavar="REGISTRY/NAME[:TAG]")
@archive
@click.option("--plain-http", is_flag=True, help="Speak to the registry without TLS; one on this laptop may do anyway.")
@click.option(
    "--ca",
    "authority",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificates that the registry's may be signed by, beside the machine's.",
)
@remember
@output_option
@verbose
def push(name: str, archive: Path, plain_http: bool, authority: Path | None, remember: bool, output: str) -> None:
    """Push the agent image to a registry, by your own `docker login` there, without Docker.

    What the registry has already is not sent. Without TAG it is ktpy's version.

    \b
    ktpy image push registry.example.org/team/ktpy-agent --archive FILE
    """
    from ktpy.sessions import image as session  # brings what `ktpy --help` need not wait for

    Caller.become()
    pushed = session.push(name, archive, plain_http=plain_http, authority=authority, tell=_tell)
    if remember:
        settings.remember("image", pushed.image)
    if output == "json":
        render.say_json({**asdict(pushed), "is_default": remember})
        return
    render.say(f"{pushed.image} is in the registry: {pushed.digest}, for {pushed.platform}.")
    if remember:
        render.say(f"It is the default of --image from now on: {settings.users()}")


def _tell(text: str) -> None:
    render.say(f"  {text}", err=True)
