"""`ktpy report` writes what a bug report needs into one file."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from ktpy.cli import render
from ktpy.cli.options import cluster, output, verbose
from ktpy.cli.pod_options import image
from ktpy.cli.status import data as status
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@cluster(namespace="Namespace that ktpy is to work in.")
@image
@output
@verbose
def report(file: Path | None, output: str, **options: Any) -> None:
    """Write what a bug report needs into FILE, one JSON document without anybody's names. Nothing is sent.

    It holds what `doctor`, `status`, `list` and the logs of sessions in the background tell, and the versions. Users,
    hosts, servers, home folders, contexts, namespaces, services and addresses of the Internet have stand-ins; secrets
    are removed. Read it before you hand it on. FILE must be new.

    \b
    ktpy report -n shop
    ktpy report bug.json -n shop
    """
    from ktpy.sessions import report as session  # brings asyncio, which `ktpy --help` need not wait for
    from ktpy.sessions.options import ConnectOptions

    caller = Caller.become()
    file = file or Path(time.strftime("ktpy-report-%Y%m%d-%H%M%S.json"))
    with _new(file) as written:
        document, replaced = session.make(
            ConnectOptions(**options), caller, lambda: status(RuntimeDirectory.of(caller))
        )
        json.dump({"schema": render.SCHEMA, **document}, written, indent=2)
    if output == "json":
        holds = {
            name: len(document[name][key]) if key in document[name] else None for name, key in session.HOLDS.items()
        }
        render.say_json({"file": str(file), "holds": holds, "replaced": replaced})
        return
    told = [f"  {name:<9} {_amount(document[name], key)}" for name, key in session.HOLDS.items()]
    names = ", ".join(f"{kind}: {count}" for kind, count in sorted(replaced.items()))
    render.say(
        f"{file} holds, with the versions of ktpy, Python and the system:",
        *told,
        f"Names have stand-ins in it ({names or 'there were none'}), and secrets are removed.",
        "Nothing was sent. Read it before you hand it on.",
    )


def _amount(part: dict[str, Any], key: str) -> str:
    return f"{key}: {len(part[key])}" if key in part else f"could not be had: {part['error']}"


@contextmanager
def _new(file: Path) -> Iterator[IO[str]]:
    """Open a file that is not there yet; it is removed again when the block fails. Raises click.BadParameter."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be made: {error.strerror}.", param_hint="FILE") from error
    try:
        with os.fdopen(descriptor, "w") as written:
            yield written
    except BaseException:
        file.unlink(missing_ok=True)
        raise
