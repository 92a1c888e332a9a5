"""`ktpy dev` develops a workload inside the cluster."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ktpy.cli import dev_config, render
from ktpy.cli.complete import port_names, target_names, versions
from ktpy.cli.dev_visit import COMMANDS, reload_option, there
from ktpy.cli.mesh import check_version, header, match_of
from ktpy.cli.options import CommandTaker, Repeatable, cluster, each, verbose
from ktpy.cli.options import output as output_option
from ktpy.cli.pod_options import pod_timeout
from ktpy.cli.workload_options import named
from ktpy.daemon.background import perform
from ktpy.daemon.caller import Caller
from ktpy.errors import SyncFailed
from ktpy.sessions.options import (
    DEFAULT_IMAGE,
    DevOptions,
    Header,
    SyncFolder,
    parse_exchange,
    parse_forward,
    parse_persistent_dir,
    parse_reverse,
)


@click.group()
def dev() -> None:
    """Develop a workload inside the cluster: a pod of its kind, in which you have a terminal.

    The workload itself is switched off while your program serves, and is given back exactly.

    \b
    ktpy dev start web
    ktpy dev terminal web
    ktpy dev end web
    """


def _sync_folder(_context: click.Context, _parameter: click.Parameter, text: str | None) -> SyncFolder | None:
    if text is None:
        return None
    local, _, remote = text.partition(":")
    if not Path(local or ".").is_dir():
        raise click.BadParameter(f"{local} is no folder of this laptop.")
    remote = remote.rstrip("/")
    if remote and not remote.startswith("/"):
        raise click.BadParameter(f"{remote} is no path of the container: it begins with a slash.")
    return SyncFolder(local or ".", remote)


@dev.command(cls=CommandTaker, short_help="Begin to develop a workload")
@cluster(namespace="Namespace of the workload.")
@click.argument("workload", shell_complete=target_names)
@click.option("--container", "-c", metavar="NAME", help="The container, where its pods have several.")
@click.option(
    "--mode",
    type=click.Choice(["replace", "duplicate"]),
    default="replace",
    show_default=True,
    envvar="KTPY_DEV_MODE",
    help="replace: your pod gets the workload's requests. duplicate: a pod beside it, of which others see nothing.",
)
@click.option("--image", envvar="KTPY_DEV_IMAGE", metavar="IMAGE", help="Image of the dev container; it needs a shell.")
@click.option("--shell", default="", envvar="KTPY_DEV_SHELL", metavar="PROGRAM", help="Shell; bash or sh without it.")
@click.option(
    "--work-dir", default="", envvar="KTPY_DEV_WORK_DIR", metavar="DIR", help="Folder of terminal or COMMAND."
)
@click.option(
    "--agent-image",
    default=DEFAULT_IMAGE,
    show_default=True,
    envvar="KTPY_IMAGE",
    metavar="IMAGE",
    help="Image that brings ktpy's agent.",
)
@click.option(
    "--sync",
    callback=_sync_folder,
    envvar="KTPY_DEV_SYNC",
    metavar="DIR[:REMOTE]",
    help="Keep this folder and REMOTE of the container alike; /home/dev by default, and empty at first.",
)
@click.option("--one-way", is_flag=True, envvar="KTPY_DEV_ONE_WAY", help="Nothing of --sync comes back to this laptop.")
@click.option(
    "--initial",
    type=click.Choice(["both", "laptop", "container", "newer"]),
    envvar="KTPY_DEV_INITIAL",
    help="Of --sync, whose version a file has at first where both sides have another (with --persist); both are kept "
    "without it.",
)
@click.option(
    "--forward",
    cls=Repeatable,
    multiple=True,
    callback=each(parse_forward),
    envvar="KTPY_DEV_FORWARD",
    metavar="[LOCAL:]PORT",
    help="Port LOCAL of this laptop's loopback leads to PORT of the container; :PORT is any that is free. Repeatable.",
)
@click.option(
    "--reverse",
    cls=Repeatable,
    multiple=True,
    callback=each(parse_reverse),
    envvar="KTPY_DEV_REVERSE",
    metavar="PORT[:LOCAL]",
    help="PORT of the container's loopback leads to port LOCAL of this laptop. Repeatable.",
)
@click.option(
    "--persist",
    cls=Repeatable,
    multiple=True,
    callback=each(parse_persistent_dir),
    envvar="KTPY_DEV_PERSIST",
    metavar="DIR[:SIZE]",
    help="This folder of the container outlives it, in a claim of your own of 10Gi, or SIZE. Repeatable.",
)
@click.option(
    "--storage-class",
    default="",
    envvar="KTPY_DEV_STORAGE_CLASS",
    metavar="NAME",
    help="Storage class of the claims of --persist; the cluster's default without it.",
)
@click.option(
    "--expose",
    cls=Repeatable,
    multiple=True,
    callback=each(parse_exchange),
    envvar="KTPY_DEV_EXPOSE",
    metavar="[CONTAINER:]PORT",
    shell_complete=port_names,
    help="Beside it, a share of PORT of its service comes to this port of the container: see --version, --header.",
)
@click.option(
    "--version",
    callback=check_version,
    envvar="KTPY_VERSION",
    metavar="VALUE",
    shell_complete=versions,
    help="Of --expose, requests whose header VERSION has this value.",
)
@header
@reload_option
@dev_config.file_option
@pod_timeout
@verbose
def start(
    workload: str,
    namespace: str | None,
    pod_timeout: float,
    sync: SyncFolder | None,
    one_way: bool,
    initial: str | None,
    reload: bool,
    version: str | None,
    headers: tuple[Header, ...],
    **options: Any,
) -> None:
    """Start a pod as WORKLOAD has them, in which nothing runs but your terminal, or COMMAND.

    WORKLOAD (web, deploy/web, sts/db, ds/agent, cronjob/report, job/import, pod/web-0) serves until your program
    listens on the container's port; then it is switched off. When the terminal or COMMAND ends, all is given back: the
    same objects, the same replicas. If ktpy is killed, `ktpy clean` gives it back, by anyone.

    \b
    ktpy dev start web -n shop
    ktpy dev start web --image golang:1.24 --sync . -- go run .
    ktpy dev start web --mode duplicate --expose 80 --version alice
    """
    from ktpy.sessions import dev as use_case  # brings asyncio, which `ktpy --help` need not wait for

    if one_way and sync is None:
        raise click.UsageError("--one-way goes with --sync.")
    if initial and sync is None:
        raise click.UsageError("--initial goes with --sync.")
    if reload and not options["command"]:
        raise click.UsageError("--reload goes with a command, after two hyphens.")
    match = match_of(version, headers, None) if version is not None or headers else None
    if bool(options["expose"]) != (match is not None) or (match is not None and options["mode"] != "duplicate"):
        raise click.UsageError("--expose goes with --mode duplicate and --version or --header, which say what share.")
    folder = replace(sync, is_two_way=not one_way, initial=initial or "") if sync is not None else None
    target, place = named(workload, namespace)
    wanted = DevOptions(
        target, namespace=place, pod_timeout_s=pod_timeout, sync=folder, reloads=reload, match=match, **options
    )
    caller = Caller.become()
    sys.exit(perform(lambda report: use_case.run(wanted, caller, report), render.on_error_output, caller, None))


for one in COMMANDS:
    dev.add_command(one)


@dev.command(name="list", short_help="Show who develops what")
@click.argument("workload", required=False, shell_complete=target_names)
@cluster(namespace="Namespace to list.")
@output_option
@verbose
def list_(workload: str | None, output: str, **place: Any) -> None:
    """Show who develops which workload of a namespace, or this one, and whether they are alive.

    \b
    ktpy dev list -n shop
    ktpy dev status web
    """
    from ktpy.sessions import dev_once
    from ktpy.sessions.once import ClusterRef

    if workload is not None:
        workload, place["namespace"] = named(workload, place["namespace"])
    found = dev_once.sessions(ClusterRef(**place), workload, Caller.become())
    if output == "json":
        render.say_json(found)
    elif not found["sessions"]:
        render.say(f"Nobody develops {workload or 'anything'} in namespace {found['namespace']}.")
    else:
        for one in found["sessions"]:
            render.say(render.developed(one), *render.sync(one["sync"] or {}))


dev.add_command(list_, "status")


@dev.command(short_help="Have the folders of --sync in step, and show what cannot be")
@there
@output_option
def sync(workload: str, output: str, **place: Any) -> None:
    """Look through both folders of --sync anew, and wait until they are in step.

    It is for your session on this laptop. Changes are seen without it: it is for file systems that tell nothing (NFS),
    and for scripts that have to know that all they have written is there. It ends with code 63 where something cannot
    be made alike.

    \b
    ktpy dev sync web && ktpy dev run web -- go test ./...
    """
    from ktpy.sessions import dev_once
    from ktpy.sessions.once import ClusterRef

    target, place["namespace"] = named(workload, place["namespace"])
    found: dict[str, Any] = {}
    for found in dev_once.catch_up(ClusterRef(**place), target, Caller.become()):
        if found["sync"]["state"] == "cut":
            render.say("The link is lost; it goes on when that is back.", err=True)
    if output == "json":
        render.say_json(found)
    else:
        render.say(*render.sync(found["sync"]))
    if found["sync"]["problems"]:
        sys.exit(SyncFailed.exit_code)


@dev.command(short_help="Show what persistent directories there are, or delete yours")
@click.argument("workload", required=False, shell_complete=target_names)
@click.option("--purge", is_flag=True, help="Delete your own, with what is in there; those of others stay.")
@cluster(namespace="Namespace of the claims.")
@output_option
@verbose
def volumes(workload: str | None, output: str, *, purge: bool, **place: Any) -> None:
    """Show the directories of --persist in a namespace, or of WORKLOAD, or delete yours.

    \b
    ktpy dev volumes -n shop
    ktpy dev volumes web --purge
    """
    from ktpy.sessions import dev_once
    from ktpy.sessions.once import ClusterRef

    if workload is not None:
        workload, place["namespace"] = named(workload, place["namespace"])
    caller, where = Caller.become(), ClusterRef(**place)
    found = dev_once.purge(where, workload, caller) if purge else dev_once.volumes(where, workload)
    if output == "json":
        render.say_json(found)
    elif purge and found["purged"]:
        _tell_purged(found["purged"])
    elif not purge and found["volumes"]:
        render.say(*map(render.volume, found["volumes"]))
    else:
        render.say(f"There are no persistent directories{' of yours' if purge else ''}; nothing was changed.")


dev.add_command(dev_config.show)


@dev.command(short_help="End what you develop")
@there
@click.option("--purge", is_flag=True, help="Delete your persistent directories of it, too, with what is in there.")
@output_option
def end(workload: str, output: str, *, purge: bool, **place: Any) -> None:
    """End your session that develops WORKLOAD, from wherever it runs, and wait until all is given back.

    \b
    ktpy dev end web
    ktpy dev end web --purge
    """
    from ktpy.sessions import dev_once
    from ktpy.sessions.once import ClusterRef

    target, place["namespace"] = named(workload, place["namespace"])
    caller = Caller.become()
    found = dev_once.end(ClusterRef(**place), target, caller, purges=purge)
    _tell(found, output)
    if output != "json":
        _tell_purged(found.get("purged", ()))


@dev.command(short_help="Give a workload back, whoever develops it")
@there
@output_option
def reset(workload: str, output: str, **place: Any) -> None:
    """Give WORKLOAD back, whoever develops it, whether they live or not.

    \b
    ktpy dev reset web
    """
    from ktpy.sessions import dev_once
    from ktpy.sessions.once import ClusterRef

    target, place["namespace"] = named(workload, place["namespace"])
    Caller.become()
    _tell(dev_once.reset(ClusterRef(**place), target), output)


def _tell_purged(volumes: Iterable[dict[str, Any]]) -> None:
    render.say(*(f"{render.volume(one)}; purged" for one in volumes))


def _tell(found: dict[str, Any], output: str) -> None:
    if output == "json":
        render.say_json(found)
    elif found["ended"]:
        render.say(*(f"{one['workload']} is as before; it was developed by {one['owner']}." for one in found["ended"]))
    else:
        render.say("Nobody develops it; nothing was changed.")
