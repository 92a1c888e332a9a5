"""WebSockets to the API server, by the asyncio client of `kubernetes`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ktpy.errors import ApiUnreachable
from ktpy.kube.connections import Connections
from ktpy.kube.endpoint import connection_failure
from ktpy.kube.http1 import Headers
from ktpy.kube.http_library import aiohttp
from ktpy.kube.kubernetes_compat import Configuration, RESTClientObject

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler


class NoWebSocket(ApiUnreachable):
    """The server opens no WebSocket. Why is in its answer to a plain request."""


class _Connector(aiohttp.BaseConnector):
    """A _Connector connects as everything else of ktpy's does, with its TLS and through its proxy."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    async def _create_connection(self, *_: Any) -> "ResponseHandler":
        return (await self._connections.connect(self._factory))[1]


class _Pool(RESTClientObject):  # type: ignore[misc]  # the library is untyped
    def __init__(self, connections: Connections) -> None:
        # With trust_env aiohttp would send passwords from ~/.netrc.
        configuration = Configuration()
        configuration.client_session_kwargs = {"trust_env": False, "connector": _Connector(connections)}
        super().__init__(configuration)

    def session(self) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = self._create_pool_manager()
        return session


@asynccontextmanager
async def open_websocket(
    connections: Connections, url: str, headers: Headers, protocols: Sequence[str]
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open a WebSocket of one of the subprotocols; yield its binary messages as they come, until its end.

    Raises NoWebSocket, and ApiUnreachable.
    """
    try:
        async with (
            _Pool(connections).session() as session,
            session.ws_connect(url, headers=headers, protocols=protocols) as opened,
        ):
            yield (message.data async for message in opened if message.type is aiohttp.WSMsgType.BINARY)
    except aiohttp.WSServerHandshakeError as exc:
        raise NoWebSocket(connection_failure(connections.endpoint, exc).message) from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise connection_failure(connections.endpoint, exc) from exc
