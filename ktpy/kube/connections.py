"""The pool of connections to one API server, and what its failures mean."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ktpy.errors import ApiUnreachable, KtpyError, KubeconfigMissing
from ktpy.kube.credentials import file_or_data, key_pair_of, load_key_pair
from ktpy.kube.endpoint import ApiEndpoint, connection_failure, endpoint_of, reason
from ktpy.kube.environment_proxy import proxy_for
from ktpy.kube.http_library import aiohttp
from ktpy.kube.kubeconfig import Selection
from ktpy.kube.kubernetes_compat import Configuration, RESTClientObject
from ktpy.kube.refusals import NeverSent

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0x10), 15),  # on macOS it is called TCP_KEEPALIVE
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Probes after 15 s, then every 5 s, three times: a watch over a link that went silent ends after half a minute."""


if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler


class _RawConnector(aiohttp.BaseConnector):
    """A _RawConnector connects as a port-forward does, for proxies that aiohttp does not know."""

    def __init__(self, server: ApiEndpoint, *, limit: int) -> None:
        super().__init__(limit=limit)
        self._server = server

    async def _create_connection(self, *_: Any) -> "ResponseHandler":
        try:
            transport, protocol = await self._server.connect(self._factory)
        except ApiUnreachable as exc:
            raise NeverSent(exc.message, hint=exc.hint) from exc
        _probe(transport.get_extra_info("socket"))
        return protocol


class Connections(RESTClientObject):  # type: ignore[misc]  # the library is untyped
    """Connections is the library's pool with keep-alive probes, and can be started afresh."""

    pool_manager: Any
    proxy: str | None

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self._limits: set[asyncio.Timeout] = set()
        """Of the requests that have no answer yet; there is none until `reset` sets it."""
        self._answers: set[aiohttp.ClientResponse] = set()

    def _create_connector(self) -> aiohttp.BaseConnector:
        proxy, url, name = self.configuration.proxy, self.configuration.host, self.configuration.tls_server_name
        if proxy and not proxy.startswith(("http://", "https://")):
            self.proxy = None  # aiohttp's own part is done by the connector
            tls = self.ssl_context if url.startswith("https:") else None
            server = replace(endpoint_of(url), tls=tls, server_hostname=name, proxy=proxy)
            return _RawConnector(server, limit=self.maxsize)
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=_probed_socket)

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request as the library does; return the head of the answer. Raises TimeoutError after `reset`, too."""
        async with asyncio.timeout(None) as limit:
            self._limits.add(limit)
            try:
                return await super().request(*args, **kwargs)
            finally:
                self._limits.discard(limit)

    @asynccontextmanager
    async def reading(self, answer: aiohttp.ClientResponse) -> AsyncIterator[aiohttp.ClientResponse]:
        """Hold an answer while it is read. `reset` ends it, with an aiohttp.ClientConnectionError for who reads."""
        self._answers.add(answer)
        try:
            async with answer:
                yield answer
        finally:
            self._answers.discard(answer)

    def websocket(self, url: str, headers: Mapping[str, str], protocols: Sequence[str]) -> Any:
        """Return aiohttp's context manager of a WebSocket."""
        if self.pool_manager is None:
            self.pool_manager = self._create_pool_manager()
        named = {"server_hostname": name} if (name := self.configuration.tls_server_name) else {}
        return self.pool_manager.ws_connect(url, headers=headers, protocols=protocols, proxy=self.proxy, **named)

    async def reset(self) -> None:
        """End every connection, and those that are being opened. Later ones use what `ssl_context` holds now."""
        pool, self.pool_manager = self.pool_manager, None  # at once: a request takes no pool that is closing
        while self._limits:
            self._limits.pop().reschedule(0)
        for answer in self._answers:
            answer.close()  # a pool that closes tells nobody who reads, and who follows a watch would do so for ever
        if pool is not None:
            await pool.close()


def connections_to(selection: Selection) -> Connections:
    """Make the pool for one context of a kubeconfig. It opens nothing yet."""
    cluster, user = selection.cluster, selection.user
    configuration = Configuration(host=selection.target.server)
    configuration.verify_ssl = not cluster.get("insecure-skip-tls-verify")
    configuration.tls_server_name = cluster.get("tls-server-name")
    configuration.proxy = cluster.get("proxy-url") or proxy_for(selection.target.server)
    if (authority := file_or_data(cluster, "certificate-authority")) is not None:
        configuration.ca_cert_data = authority.decode(errors="replace")
    # Go does not ask for the extensions that OpenSSL's strict mode (the default from Python 3.13 on) wants in a CA.
    configuration.disable_strict_ssl_verification = True
    # With trust_env aiohttp would send passwords from ~/.netrc; of the environment only the proxy counts, see above.
    configuration.client_session_kwargs = {"trust_env": False}
    try:
        connections = Connections(configuration)
    except ssl.SSLError as exc:
        raise KubeconfigMissing(f"The certificate authority of this context cannot be used: {exc.reason}.") from exc
    if (key_pair := key_pair_of(user)) is not None:
        load_key_pair(connections.ssl_context, key_pair)
    return connections


def failure(server_url: str, exc: Exception) -> KtpyError:
    """Return the error for a request that got no answer: NeverSent when there was no connection at all."""
    error = _failure(server_url, exc)
    if isinstance(exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) and type(error) is ApiUnreachable:
        return NeverSent(error.message, hint=error.hint)
    return error


def _failure(server_url: str, exc: Exception) -> KtpyError:
    endpoint = endpoint_of(server_url)
    cause = _cause(exc)
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return ApiUnreachable(
            f"The proxy on the way to the API server at {endpoint.authority} says no: {exc.status} {exc.message}.",
            hint="See proxy-url of the cluster in the kubeconfig, or HTTPS_PROXY; user and password go into its URL.",
        )
    if isinstance(cause, TimeoutError):
        return ApiUnreachable(
            f"The API server at {endpoint.authority} did not answer in time.",
            hint="Does it need a VPN or a proxy that is not there now?",
        )
    error = connection_failure(endpoint, cause)
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        error = ApiUnreachable(f"The proxy on the way to {endpoint.authority} cannot be reached: {reason(cause)}.")
    return error.with_hint(error.hint or _hint(cause))


def _hint(cause: Exception) -> str | None:
    match cause:
        case ConnectionRefusedError():
            return "Nothing listens there: is the cluster running, and is this the right context?"
        case socket.gaierror():
            return "The server's name does not resolve: does it need a VPN, or is the kubeconfig out of date?"
        case OSError():
            return "Is the network up, and does the cluster need a VPN?"
        case _:
            return None


def _cause(exc: Exception) -> Exception:
    """Return the exception of the operating system or of TLS that aiohttp has wrapped."""
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return exc.certificate_error
        case aiohttp.ClientConnectorError():
            return _cause(exc.os_error)
        case aiohttp.ClientError() if isinstance(exc.__cause__, Exception):
            return _cause(exc.__cause__)
        case OSError(errno=int(number)) if number in errno.errorcode and not isinstance(exc, ssl.SSLError):
            return type(exc)(number, os.strerror(number))  # asyncio says "Connect call failed" for everything
        case _:
            return exc


def _probed_socket(address_info: Any) -> socket.socket:
    family, kind, protocol, _, _ = address_info
    probed = socket.socket(family, kind, protocol)
    _probe(probed)
    return probed


def _probe(connection: socket.socket) -> None:
    for level, option, value in _KEEPALIVE:
        connection.setsockopt(level, option, value)
