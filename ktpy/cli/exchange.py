"""`ktpy exchange` serves all requests of a service's port on this laptop."""

from typing import Any

import click

from ktpy.cli.complete import target_names
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


@click.command(cls=InterceptCommand)
@click.argument("target", shell_complete=target_names)
@expose
@when_local_down
@intercepting
@gateway_label
@in_mesh
@move_clients
def exchange(**options: Any) -> None:
    """Serve all requests to ports of TARGET on this laptop, until Ctrl-C.

    TARGET is a service (web, or web.shop of namespace shop), or KIND/NAME of what a service leads to: deployment/web,
    pod/web-0, rollout/web. While the
    local port does not answer, the original pods do. With a COMMAND, ktpy runs it and leaves when it ends.

    \b
    ktpy exchange web --expose 3001:80
    ktpy exchange web --expose 3001:80 -- npm start
    """
    perform("exchange", **options)
