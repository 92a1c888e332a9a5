"""What holds for a dev session: what the user says, and what the first configuration says that says anything."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ktpy.errors import UsageError
from ktpy.observe.events import Notice, Report
from ktpy.sessions import ktpy_yaml, nocalhost
from ktpy.sessions.dev_config import DevConfig, parsed, read
from ktpy.sessions.options import DevOptions, Exec, parse_forward, parse_persistent_dir, parse_reverse

if TYPE_CHECKING:
    from ktpy.sessions.dev_config_in_cluster import Text

REMOTE_DIR: Final = "/home/dev"
Parsed = TypeVar("Parsed")


def _nothing(_options: DevOptions) -> Iterable["Text"]:
    return ()


InCluster = Callable[[DevOptions], Iterable["Text"]]
"""What finds texts of the cluster about a workload."""


def configured(options: DevOptions, report: Report, in_cluster: InCluster = _nothing) -> DevOptions:
    """Return the options with what the file says where the user says nothing. Raises as `read` does."""
    found = found_for(options, report, in_cluster)
    if found.is_image_of_variables and not options.image:
        raise UsageError(
            f"{found.name}: the image is named by variables of this laptop's environment, which ktpy does "
            "not tell a registry; nothing was changed.",
            hint="--image names it.",
        )
    for notice in found.left_out():
        report(Notice(f"{found.name}: {notice}"))
    work_dir = options.work_dir or found.work_dir
    sync = options.sync
    if sync is not None:
        sync = replace(
            sync,
            remote=sync.remote or found.work_dir or REMOTE_DIR,
            is_two_way=sync.is_two_way and found.is_two_way,
            is_delete_protected=found.is_delete_protected,
            ignore=found.ignore,
            initial=sync.initial or found.initial,
        )
        work_dir = options.work_dir or sync.remote
    return replace(
        options,
        container=options.container or found.container or None,
        image=options.image or found.image or None,
        shell=options.shell or found.shell,
        work_dir=work_dir,
        sync=sync,
        resources=found.resources,
        env=found.env,
        forward=options.forward or _each(found, "portForward", found.forward, parse_forward),
        reverse=options.reverse or _each(found, "reverse", found.reverse, parse_reverse),
        persist=options.persist or _each(found, "persistentVolumeDirs", found.persist, parse_persistent_dir),
        storage_class=options.storage_class or found.storage_class,
        patches=found.patches,
    )


def _each(found: DevConfig, key: str, texts: tuple[str, ...], parse: Callable[[str], Parsed]) -> tuple[Parsed, ...]:
    try:
        return tuple(map(parse, texts))
    except ValueError as exc:
        raise UsageError(f"{found.places[key]}: {key}: {exc}") from exc


def configured_run(
    options: DevOptions, report: Report, in_cluster: InCluster = _nothing, *, builds: bool = False
) -> Exec:
    """Return what runs in a dev container, or `builds` there: what the user says, or the file."""
    if options.command:
        return Exec(options.command, folder=options.work_dir, reloads=options.reloads)
    found = found_for(options, report, in_cluster)
    folder = options.work_dir or found.work_dir
    if builds:
        return Exec(found.build, folder=folder)
    return reloaded(found.run, found.run_reloaded, folder, asked=options.reloads, said=found.is_reloaded)


def reloaded(words: tuple[str, ...], own: tuple[str, ...], folder: str, *, asked: bool, said: bool) -> Exec:
    """Return what runs: `own` is what reloads by itself, and runs where the file says so and the user does not."""
    if own and said and not asked:
        return Exec(own, folder=folder)
    return Exec(words, folder=folder, reloads=asked or said)


def found_for(options: DevOptions, report: Report, in_cluster: InCluster = _nothing) -> DevConfig:
    """Return what the first text says that says anything of the workload: ktpy.yaml, Nocalhost's file, the cluster."""
    files = (
        [Path(options.config)] if options.config else [one for one in (ktpy_yaml.FILE, nocalhost.FILE) if one.is_file()]
    )
    for path in files:
        found = read(path, options.target, options.container)
        if found.said or found.unused:
            if found.variables:
                names = ", ".join(found.variables)
                report(Notice(f"{path} was given variables of this laptop's environment: {names}."))
            return found
    for one in in_cluster(options) if options.config is None else ():
        # Whoever wrote it does not learn this laptop's variables.
        found = parsed(one.name, one.text, one.workload, options.container, is_of_workload=one.is_of_workload)
        if found.said or found.unused:
            report(Notice(f"The configuration is that of the {one.name}."))
            # Who may write a ConfigMap need not be one who may change pods.
            taken = replace(found, reverse=(), env_files=(), patches=found.patches if one.is_of_workload else ())
            keys = {"reverse": "reverse", "envFiles": "env_files", "patches": "patches"}
            left = [key for key, name in keys.items() if getattr(found, name) != getattr(taken, name)]
            if left:
                report(Notice(f"Its {', '.join(left)} are left out: a text in the cluster does not decide on those."))
            return taken
    return DevConfig()
