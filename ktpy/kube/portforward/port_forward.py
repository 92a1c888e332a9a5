"""A byte stream to a port of a pod, over the port-forward of the API server: WebSocket, or bare SPDY.

One TLS connection, one asyncio protocol: no thread, no WebSocket library, no listener on loopback in between.

A forward has no half-close and one reset inside the pod ends it (kubernetes#111825): carry SSH over it, which has both.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from ktpy.errors import ApiRefused, ApiUnreachable, Unauthorized
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.kube.http1 import keep_alive
from ktpy.kube.portforward.connection import BATCH_BYTES, PortForwardConnection
from ktpy.kube.portforward.framing import ChannelFraming
from ktpy.kube.portforward.gathering import Gathering
from ktpy.kube.portforward.spdy import SpdyFraming
from ktpy.kube.portforward.turns import Turns
from ktpy.kube.portforward.upgrade import NotForwarded, PortForwardNotYet, SpdyUpgrade, Upgrade

__all__ = ["PortForward", "PortForwardNotYet"]

P = TypeVar("P", bound=asyncio.Protocol)

OPEN_TIMEOUT_S: Final = 10.0
NOT_FORWARDED_RETRIES: Final = 2
NOT_FORWARDED_PAUSE_S: Final = 0.5
SUBPROTOCOLS: Final = (SpdyFraming.subprotocol, ChannelFraming.subprotocol)


class ApiServer(Protocol):
    """An ApiServer is what a port-forward needs of `kube.client.Api`."""

    async def endpoint(self) -> ApiEndpoint:
        """Return where to connect, with credentials that are fresh now. It is asked before each connection."""

    async def renew_credentials(self) -> bool:
        """Get new credentials after a 401; False when there is no way to get others."""


class PortForward:
    """A PortForward opens connections to one port of one pod. asyncssh takes it as its `tunnel=`."""

    def __init__(
        self,
        api: ApiServer,
        namespace: str,
        pod: str,
        port: int,
        *,
        timeout_s: float = OPEN_TIMEOUT_S,
        turns: Turns | None = None,
        batch_bytes: int = BATCH_BYTES,
        is_for_bulk: bool = False,
    ) -> None:
        """With 0 `batch_bytes` each write goes out at once, which is for whoever gathers what there is before. What
        `is_for_bulk` is read when there is much."""
        self.namespace, self.pod, self.port = namespace, pod, port
        self._api = api
        self._turns = turns or Turns()
        self._batch_bytes, self._is_for_bulk = batch_bytes, is_for_bulk
        self._timeout_s = timeout_s
        self._connections: set[PortForwardConnection] = set()
        self._kind: type[Upgrade] = Upgrade
        """What has got through."""

    async def create_connection(
        self, protocol_factory: Callable[[], P], _host: str = "", _port: int = 0
    ) -> tuple[asyncio.Transport, P]:
        """Connect as `loop.create_connection` does. Host and port are the caller's names for what is in the pod.

        Returns when the cluster has opened the forward. Whether somebody listens in the pod shows later: then
        `connection_lost` gets a PortForwardNotYet. A protocol that has a `views_received` gets what arrives by that,
        in parts of a buffer that are written over afterwards. Raises that, or what the API server's refusal means.
        """
        return self.join(await self.open(), protocol_factory)

    def join(self, connection: PortForwardConnection, inner: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        """Put a protocol on what `open` has returned."""
        self._connections.add(connection)
        connection.on_lost = self._connections.discard
        protocol = inner()
        connection.begin(protocol)
        return connection, protocol

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._connections):
            connection.close()

    async def open(self) -> PortForwardConnection:
        """Open a connection and its forward. What no API server answers counts once it has repeated itself."""
        for _ in range(NOT_FORWARDED_RETRIES):
            try:
                return await self._open_either_way()
            except NotForwarded:
                await asyncio.sleep(NOT_FORWARDED_PAUSE_S)
        return await self._open_either_way()

    async def _open_either_way(self) -> PortForwardConnection:
        """Open it over WebSocket; where an intermediary keeps that off, over SPDY, as kubectl does."""
        try:
            return await self._open_once(self._kind)
        except NotForwarded as refused:
            try:
                connection = await self._open_once(SpdyUpgrade)
            except (ApiRefused, ApiUnreachable):
                raise refused from None
            self._kind = SpdyUpgrade
            return connection

    async def _open_once(self, kind: type[Upgrade], *, may_renew: bool = True) -> PortForwardConnection:
        """Open a connection and its forward. A 401 is answered once with new credentials, as for a request."""
        endpoint = await self._api.endpoint()
        upgrade = kind(endpoint, self.namespace, self.pod, self.port, SUBPROTOCOLS)
        transport, _ = await endpoint.connect(asyncio.Protocol, timeout_s=self._timeout_s)
        keep_alive(transport)
        gathering = Gathering(transport) if self._is_for_bulk else None
        connection = PortForwardConnection(
            transport, endpoint, upgrade, self.port, self._turns, self._batch_bytes, gathering
        )
        transport.set_protocol(connection)
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.ready
        except TimeoutError as exc:
            transport.abort()
            raise upgrade.cut_off() or PortForwardNotYet(
                f"The port-forward to pod {self.pod} did not open within {self._timeout_s:g} s."
            ) from exc
        except Unauthorized:
            transport.abort()
            if not (may_renew and upgrade.status == 401 and await self._api.renew_credentials()):
                raise
            return await self._open_once(kind, may_renew=False)
        except BaseException:
            transport.abort()
            raise
        return connection
