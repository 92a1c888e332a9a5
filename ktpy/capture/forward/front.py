"""The front of mode `forward`: ports of the laptop's loopback, each of which leads to one of the cluster."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ktpy.capture.forward.forwards import Forward
from ktpy.capture.forward.server import ForwardServer
from ktpy.capture.loopback import LoopbackFront
from ktpy.capture.spec import Launched
from ktpy.link.datagrams import DatagramLink
from ktpy.link.uplink import Uplink
from ktpy.observe.events import Report
from ktpy.wire.session import AgentHello

if TYPE_CHECKING:
    from ktpy.capture.tun.relay import Dial


class ForwardFront(LoopbackFront):
    """A ForwardFront has bound its ports before the pod is made."""

    name = "forwarded ports"

    def __init__(self, forwards: Sequence[Forward]) -> None:
        super().__init__()
        self._forwards = forwards

    @classmethod
    async def prepare(cls, launched: Launched, undo: AsyncExitStack, report: Report) -> "ForwardFront":  # noqa: ARG003
        if not isinstance(launched, tuple):
            raise TypeError("mode forward begins with its ports")
        return cls(launched)

    async def start_pump(
        self,
        uplink: Uplink[AgentHello],  # noqa: ARG002 - a dial waits by itself
        datagrams: DatagramLink | None,
        undo: AsyncExitStack,
        *,
        dial: "Dial",
    ) -> ForwardServer:
        server = ForwardServer(self._forwards, self.lookup, dial, datagrams)
        undo.push_async_callback(server.aclose)
        return server
