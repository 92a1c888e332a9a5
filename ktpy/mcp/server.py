"""The server on standard input and output, of the library `mcp`: it ends where its client closes the former."""

import asyncio
import functools
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

from ktpy import __version__
from ktpy.errors import KtpyError
from ktpy.mcp.tools import CHANGES, READS, Tools

INSTRUCTIONS = "ktpy makes this laptop part of a Kubernetes cluster. "
READ_ONLY = "These tools change nothing; `ktpy mcp --allow-changes` has those that do."
CHANGING = "What a tool begins is undone by `leave`, and all of it at the end of this server."


def serve(tools: Tools, *, allow_changes: bool) -> None:
    """Serve until the client has gone; then end what the tools have begun.

    Ctrl-C kills it, as SIGTERM does, and the sessions end by themselves: the library reads standard input in a thread,
    which a cancellation would wait for.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    async def call() -> None:
        try:
            await make(tools, allow_changes=allow_changes).run_stdio_async()
        finally:
            await tools.end_all()

    asyncio.run(call())


def make(tools: Tools, *, allow_changes: bool) -> MCPServer[Any]:
    """Return the server, with the tools that the user allows."""
    told = INSTRUCTIONS + (CHANGING if allow_changes else READ_ONLY)
    server: MCPServer[Any] = MCPServer("ktpy", version=__version__, instructions=told, log_level="WARNING")
    for one in (*READS, *(CHANGES if allow_changes else ())):
        hints = ToolAnnotations(read_only_hint=one in READS, destructive_hint=False, open_world_hint=True)
        server.add_tool(_telling(getattr(tools, one.__name__)), annotations=hints)
    return server


def _telling(tool: Callable[..., Awaitable[dict[str, Any]]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Return the tool with its failures in ktpy's words, which are for the agent: another exception's are not."""

    @functools.wraps(tool)
    async def telling(*arguments: Any, **named: Any) -> dict[str, Any]:
        try:
            return await tool(*arguments, **named)
        except KtpyError as error:
            told = f"{error.message} {error.hint or ''}".rstrip()
            raise ToolError(f"{told} (exit code {error.exit_code})") from error

    return telling
