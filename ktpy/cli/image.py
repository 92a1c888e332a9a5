"""`ktpy image push` and `load`: the agent image for a cluster of one's own."""

import os
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ktpy.cli import render
from ktpy.cli.complete import context_names
from ktpy.cli.options import Decorated, decorated, verbose
from ktpy.cli.options import output as output_option
from ktpy.daemon import settings
from ktpy.daemon.caller import Caller

if TYPE_CHECKING:
    from ktpy.sessions.image import Brought

BUILDERS = ("docker", "podman", "buildah", "packages")
CLUSTERS = {
    "kind": "Load it into this kind cluster.",
    "k3d": "Load it into this k3d cluster.",
    "minikube": "Load it into this minikube profile.",
    "microk8s": "Load it into MicroK8s.",
    "containerd": "Load it into the containerd of this socket, by sudo where you may not.",
}


def image_source(command: Decorated) -> Decorated:
    """Add the options that say where the image is from, and what becomes of it; the command gets `source`."""

    @wraps(command)
    def sourced(
        *,
        archive: Path | None,
        builder: str | None,
        architecture: str | None,
        rebuild: bool,
        remember: bool,
        output: str,
        **options: Any,
    ) -> None:
        from ktpy.sessions import image as session  # brings what `ktpy --help` need not wait for

        Caller.become()
        if archive is not None and (builder or architecture or rebuild):
            raise click.UsageError(
                "--archive is an image that was built already: --builder, --arch, --rebuild do not go."
            )
        brought: Brought = command(source=session.Source(_tell, archive, builder, architecture, rebuild), **options)
        is_new = remember and session.remember(brought.image)
        if output == "json":
            render.say_json({**asdict(brought), "is_default": remember})
            return
        where = f"{brought.cluster} has it" if brought.cluster else f"its registry has it: {brought.digest}"
        render.say(f"{brought.image} for {brought.platform}: {where}.")
        if is_new:
            render.say(f"It is the default of --image from now on: {settings.users()}")
        if remember and (other := os.environ.get("KTPY_IMAGE", brought.image)) != brought.image:
            render.write(render.note(f"KTPY_IMAGE names another, {other}, which goes before it."))

    return decorated(
        sourced,
        verbose,
        output_option,
        click.option(
            "--no-remember",
            "remember",
            flag_value=False,
            default=True,
            help="Leave the default of --image, in ~/.config/ktpy/config.toml, as it is.",
        ),
        click.option("--rebuild", is_flag=True, help="Build it anew; else one of the last 7 days is taken."),
        click.option(
            "--arch",
            "architecture",
            type=click.Choice(["amd64", "arm64"]),
            help="The nodes' processor; another than this laptop's needs an engine, with QEMU's binfmt.",
        ),
        click.option(
            "--builder",
            type=click.Choice(BUILDERS),
            help="What builds it; by default the first that is there and can. `packages` needs apt-get only, not root.",
        ),
        click.option(
            "--archive",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Build nothing: take this archive, as `docker save` writes it.",
        ),
    )


@click.group()
def image() -> None:
    """Bring the agent image, of which ktpy's pods are, to a cluster of your own.

    \b
    ktpy image load
    ktpy image push registry.example.org/team/ktpy-agent
    """


@image.command(short_help="Push the agent image to a registry")
@click.argument("name", metavar="REGISTRY/NAME[:TAG]")
@click.option("--plain-http", is_flag=True, help="Speak to the registry without TLS; one on this laptop may do anyway.")
@click.option(
    "--ca",
    "authority",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificates that the registry's may be signed by, beside the machine's.",
)
@image_source
def push(name: str, **options: Any) -> "Brought":
    """Build the agent image and push it to a registry, by your own `docker login` there, without Docker too.

    What the registry has already is not sent. Without TAG it is ktpy's version.

    \b
    ktpy image push registry.example.org/team/ktpy-agent
    """
    from ktpy.sessions import image as session

    return session.push(name, **options)


@image.command(short_help="Load the agent image into a cluster on this laptop")
@click.option(
    "--kubeconfig",
    type=click.Path(readable=False),
    envvar="KTPY_KUBECONFIG",
    metavar="FILE",
    help="Kubeconfig file, or a list of them; as KUBECONFIG.",
)
@click.option(
    "--context",
    envvar="KTPY_CONTEXT",
    metavar="NAME",
    shell_complete=context_names,
    help="Kubeconfig context; the current one by default.",
)
@click.option("--kind", metavar="NAME", help=CLUSTERS["kind"])
@click.option("--k3d", metavar="NAME", help=CLUSTERS["k3d"])
@click.option("--minikube", is_flag=False, flag_value="minikube", metavar="[PROFILE]", help=CLUSTERS["minikube"])
@click.option("--microk8s", is_flag=True, flag_value="", default=None, help=CLUSTERS["microk8s"])
@click.option("--containerd", is_flag=False, flag_value="", metavar="[ADDRESS]", help=CLUSTERS["containerd"])
@image_source
def load(source: Any, kubeconfig: str | None, context: str | None, **clusters: str | None) -> "Brought":
    """Build the agent image and load it into a cluster on this laptop: that of the context, unless another is named.

    \b
    ktpy image load
    ktpy image load --kind two
    """
    from ktpy.sessions import image as session

    named = [session.LocalCluster(kind, value) for kind in CLUSTERS if (value := clusters[kind]) is not None]
    if len(named) > 1:
        raise click.UsageError(f"--{named[0].kind} and --{named[1].kind} are two clusters: name one.")
    return session.load(source, named[0] if named else None, kubeconfig, context)


def _tell(text: str) -> None:
    render.say(f"  {text}", err=True)
