"""A share of a Service's requests for a dev container: a mesh whose local ports are in there."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ktpy.daemon.caller import Caller
from ktpy.observe.events import Report
from ktpy.serve.local_port import LocalPort
from ktpy.sessions.dev_link import dial
from ktpy.sessions.options import DevOptions, InterceptOptions
from ktpy.sessions.share import shared

if TYPE_CHECKING:
    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello

P = TypeVar("P", bound=asyncio.Protocol)


class DevPort(LocalPort):
    """A DevPort is a port of the dev container. It is taken for one of another host, of which no kernel here knows."""

    def __init__(self, uplink: "Uplink[AgentHello]", *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{**named, "host": "the dev container"})
        self._uplink = uplink

    async def _dial_address(self, protocol_factory: Callable[[], P], address: str) -> tuple[asyncio.Transport, P]:  # noqa: ARG002
        return await dial(self._uplink, protocol_factory, self.number)


def share(
    options: DevOptions, workload: str, uplink: "Uplink[AgentHello]", caller: Caller, report: Report
) -> AbstractAsyncContextManager[dict[str, str]]:
    """Let the dev container have the requests that match, while the block runs. Raises what a mesh does."""
    wanted = InterceptOptions(
        "mesh",
        workload,
        options.expose,
        options.kubeconfig,
        options.context,
        options.namespace,
        options.match,
        image=options.agent_image,
        pod_timeout_s=options.pod_timeout_s,
        command=options.command or ("shell",),
    )
    return shared(wanted, partial(DevPort, uplink), caller, report)
