"""`ktpy exchange` serves all requests of a service's port on this laptop."""

from typing import Any

import click

from ktpy.cli.intercept_options import gateway_label, intercepting, perform, when_local_down


@click.command()
@click.argument("target")
@intercepting
@when_local_down
@gateway_label
def exchange(**options: Any) -> None:
    """Serve all requests to ports of TARGET on this laptop, until Ctrl-C.

    TARGET is a service (web, or web.shop of namespace shop), or KIND/NAME of what a service leads to: deployment/web,
    pod/web-0, rollout/web. While the
    local port does not answer, the original pods do. With a COMMAND, ktpy runs it and leaves when it ends.
    """
    perform("exchange", **options)
