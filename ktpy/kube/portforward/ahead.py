"""A port-forward whose first connection is opened before anybody asks for it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ktpy.errors import KtpyError
from ktpy.kube.portforward.connection import PortForwardConnection
from ktpy.kube.portforward.port_forward import PortForward

P = TypeVar("P", bound=asyncio.Protocol)


class ForwardAhead:
    """A ForwardAhead begins to open a connection when it is made, and gives it to who asks first. `close` ends that."""

    def __init__(self, forward: PortForward) -> None:
        self._forward = forward
        self._ahead: asyncio.Task[PortForwardConnection] | None = asyncio.get_running_loop().create_task(
            forward.open(), name=f"open a port-forward to {forward.pod}"
        )

    async def create_connection(
        self, protocol_factory: Callable[[], P], _host: str = "", _port: int = 0
    ) -> tuple[asyncio.Transport, P]:
        """Connect as PortForward does."""
        return self._forward.join(await self._opened_ahead() or await self._forward.open(), protocol_factory)

    def close(self) -> None:
        """Close what was opened ahead, if nobody has had it."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead.add_done_callback(_close)

    async def _opened_ahead(self) -> PortForwardConnection | None:
        """Return what was opened ahead, once. What has kept it from opening may be over by now, or shows again."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            with suppress(KtpyError):
                connection = await ahead
                return None if connection.is_closing() else connection
        return None


def _close(ahead: "asyncio.Task[PortForwardConnection]") -> None:
    if not ahead.cancelled() and ahead.exception() is None:
        ahead.result().close()
