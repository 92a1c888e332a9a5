"""`ktpy tap` sends copies of a service's requests to this laptop; the original ones go on as before."""

from typing import Any

import click

from ktpy.cli.complete import target_names
from ktpy.cli.intercept_options import (
    InterceptCommand,
    gateway_label,
    in_mesh,
    intercepting,
    move_clients,
    perform,
    to,
)
from ktpy.cli.mesh import header, match_of, path_prefix, version_option
from ktpy.cli.options import Whole
from ktpy.sessions.options import Header


@click.command(cls=InterceptCommand)
@click.argument("target", shell_complete=target_names)
@to
@click.option(
    "--percent",
    type=Whole(1, 100),
    default=100,
    show_default=True,
    envvar="KTPY_PERCENT",
    metavar="N",
    help="Copy this share of the requests.",
)
@version_option()
@header
@path_prefix
@intercepting
@gateway_label
@in_mesh
@move_clients
def tap(
    percent: int, version: str | None, headers: tuple[Header, ...], path_prefix: str | None, **options: Any
) -> None:
    """Get copies of the requests to TARGET on this laptop, until Ctrl-C; the original requests never wait for them.

    TARGET is a service (web, or web.shop of namespace shop), or KIND/NAME of what a service leads to: deployment/web,
    pod/web-0, rollout/web. Your program's answers are thrown away. Each copy bears the header X-Ktpy-Tap. WebSocket,
    gRPC, and bodies of more than 32 KiB or of unknown length are not copied.

    \b
    ktpy tap web --to 3001
    ktpy tap web --to 3001:80 --percent 10 --path-prefix /api
    """
    is_some = version is not None or headers or path_prefix is not None
    match = match_of(version, headers, path_prefix) if is_some else None
    perform("tap", match=match, copied_percent=percent, **options)
