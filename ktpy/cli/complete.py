"""The kinds of names that complete a parameter: `shell_complete=` of it. `ktpy.completion.names` finds the names."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Marker = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]


def _names(kind: str) -> Marker:
    def marker(_context: click.Context, _parameter: click.Parameter, _typed: str) -> "list[CompletionItem[str]]":
        from click.shell_completion import CompletionItem  # `ktpy --help` need not wait for it

        return [CompletionItem("", kind)]

    return marker


def command_names(context: click.Context, _parameter: click.Parameter, _typed: str) -> list[str]:
    """Return the commands of ktpy."""
    return cast(click.Group, context.find_root().command).list_commands(context)


context_names = _names("contexts")
namespace_names = _names("namespaces")
service_names = _names("services")
target_names = _names("targets")
"""A service, or KIND/NAME of what has pods."""
port_names = _names("ports")
exposed_ports = _names("exposed")
header_values = _names("headers")
versions = _names("versions")
intercept_names = _names("intercepts")
session_names = _names("sessions")
"""What `ktpy leave` ends."""
log_names = _names("logs")
