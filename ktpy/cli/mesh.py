"""`ktpy mesh` serves the requests that carry a mark on this laptop; all others go on as before."""

import re
from collections.abc import Callable
from typing import Any

import click

from ktpy.cli.complete import header_values, target_names, versions
from ktpy.cli.intercept_options import (
    InterceptCommand,
    expose,
    gateway_label,
    in_mesh,
    intercepting,
    move_clients,
    perform,
    when_local_down,
)
from ktpy.cli.options import Decorated, Repeatable, each
from ktpy.daemon.caller import Caller
from ktpy.sessions.options import VERSION_HEADER, Header, Match, is_path_prefix, parse_header

BAGGAGE_KEY = "ktpy-version"
"""In the W3C header `baggage`, which tracing libraries pass on from service to service."""
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def check_version(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _VERSION.fullmatch(value):
        raise click.BadParameter("A version consists of at most 63 letters, digits, dots, hyphens and underscores.")
    return value


def _path_prefix(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_path_prefix(value):
        raise click.BadParameter("A path prefix begins with a slash and has no query, such as /api.")
    return value


header = click.option(
    "--header",
    "headers",
    cls=Repeatable,
    multiple=True,
    callback=each(parse_header),
    envvar="KTPY_HEADER",
    metavar="NAME=VALUE|NAME=~REGEX",
    shell_complete=header_values,
    help="Take requests with this header; of several, all have to match.",
)


path_prefix = click.option(
    "--path-prefix",
    callback=_path_prefix,
    envvar="KTPY_PATH_PREFIX",
    metavar="PATH",
    help="Take only requests below this path.",
)


def version_option(else_: str = "") -> Callable[[Decorated], Decorated]:
    """`else_` says which version it is where none is given."""
    return click.option(
        "--version",
        callback=check_version,
        envvar="KTPY_VERSION",
        metavar="VALUE",
        shell_complete=versions,
        help=f"Take requests whose header VERSION has this value.{else_}",
    )


@click.command(cls=InterceptCommand)
@click.argument("target", shell_complete=target_names)
@expose
@version_option(" Your user name, if nothing else is said.")
@header
@path_prefix
@when_local_down
@intercepting
@gateway_label
@in_mesh
@move_clients
def mesh(version: str | None, headers: tuple[Header, ...], path_prefix: str | None, **options: Any) -> None:
    """Serve the requests to TARGET that carry your mark on this laptop, until Ctrl-C; all others are left alone.

    TARGET is a service (web, or web.shop of namespace shop), or KIND/NAME of what a service leads to: deployment/web,
    pod/web-0, rollout/web.

    \b
    ktpy mesh web --expose 3001:80 --version alice
    curl -H 'VERSION: alice' http://web/
    """
    notices = []
    if version is None and not headers and path_prefix is None:
        version = version_of(Caller.current().name)
        notices.append(f"Your version is {version}: requests with the header {VERSION_HEADER}: {version} come here.")
    perform("mesh", match=match_of(version, headers, path_prefix), notices=tuple(notices), **options)


def match_of(version: str | None, headers: tuple[Header, ...], path_prefix: str | None) -> Match:
    """Return the match. A version alone may also come as baggage; beside other headers that would bypass them."""
    by_version = (Header(VERSION_HEADER, version),) if version is not None else ()
    baggage = ((BAGGAGE_KEY, version),) if version is not None and not headers else ()
    return Match(by_version + headers, path_prefix, baggage)


def version_of(user: str) -> str:
    """Return a version made from a user name such as `alice.smith@example.org`."""
    legal = re.sub(r"[^a-z0-9._-]+", "-", user.lower())[:63]
    return legal.strip("._-") or "mine"
