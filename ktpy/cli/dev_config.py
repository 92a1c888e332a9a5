"""`ktpy dev config` shows what a configuration says of a workload, and where."""

import json
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.complete import target_names
from ktpy.cli.options import cluster, printed, verbose
from ktpy.cli.workload_options import named
from ktpy.daemon.caller import Caller
from ktpy.sessions.options import DevOptions

file_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    envvar="KTPY_DEV_CONFIG",
    metavar="FILE",
    help="What is not named here: image, shell, folder...; by default ktpy.yaml or .nocalhost/config.yaml.",
)


@click.command(name="config", short_help="Show what a configuration says of a workload")
@cluster(namespace="Namespace of the workload.")
@click.argument("workload", required=False, shell_complete=target_names)
@click.option("--container", "-c", metavar="NAME", help="The container, where its pods have several.")
@file_option
@click.option("--schema", is_flag=True, help="Print the JSON schema of ktpy.yaml, for editors.")
@printed("yaml", note="; yaml is a ktpy.yaml that says the same")
@verbose
def show(workload: str | None, namespace: str | None, schema: bool, output: str, **options: Any) -> None:
    """Show what `ktpy dev start WORKLOAD` takes from a configuration, and from which line of it.

    \b
    ktpy dev config web
    ktpy dev config web -o yaml > ktpy.yaml
    ktpy dev config --schema > ktpy.schema.json
    """
    from ktpy.sessions import dev_config_shown  # brings json schemas and YAML, which `ktpy --help` need not wait for

    if schema:
        from ktpy.cli import up_entries
        from ktpy.cli.main import cli

        render.write(json.dumps(up_entries.schema(cli), indent=2))
        return
    if workload is None:
        raise click.UsageError("Name the workload, or say --schema.")
    target, options["namespace"] = named(workload, namespace)
    Caller.become()
    found = dev_config_shown.shown(DevOptions(target, **options), render.on_error_output)
    if output == "json":
        render.say_json(found)
    elif output == "yaml":
        render.say(*dev_config_shown.as_yaml(found).split("\n"))
    else:
        render.say(*dev_config_shown.lines(found))
