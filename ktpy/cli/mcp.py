"""`ktpy mcp` serves coding agents."""

from typing import Any

import click

from ktpy.cli.options import cluster, verbose
from ktpy.daemon.caller import Caller
from ktpy.errors import LibraryAbsent


@click.command()
@click.option("--allow-changes", is_flag=True, help="Offer the tools that change something, too, until it ends.")
@cluster(namespace="The only namespace that the tools work in; any, without it.")
@verbose
def mcp(allow_changes: bool, **place: Any) -> None:
    """Serve a coding agent by the Model Context Protocol, on standard input and output.

    Its tools read only: status, services, who, doctor, logs, requests, version. With --allow-changes there are
    exchange, mesh, preview, forward, run and leave; what they begin ends with the agent, however that ends.

    \b
    claude mcp add ktpy -- ktpy mcp -n shop
    ktpy mcp -n shop --allow-changes
    """
    Caller.become()
    try:
        from ktpy.mcp.server import serve
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(("mcp", "pydantic")):
            raise
        raise LibraryAbsent(
            f"ktpy mcp needs the library mcp, which is not installed ({error.name}).",
            hint="Install it beside ktpy: pip install 'ktpy[mcp]', pipx inject ktpy mcp, or uv tool install --with mcp",
        ) from error
    from ktpy.mcp.tools import Tools

    serve(Tools(place), allow_changes=allow_changes)  # type: ignore[arg-type]
