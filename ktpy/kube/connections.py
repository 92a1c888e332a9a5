"""The connections to one API server, and what their failures mean."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import quote, urlsplit

from ktpy.errors import ApiUnreachable, KtpyError, KubeconfigMissing
from ktpy.kube.credentials import file_or_data, key_pair_of, load_key_pair
from ktpy.kube.endpoint import ApiEndpoint, connection_failure, endpoint_of
from ktpy.kube.environment_proxy import proxy_for
from ktpy.kube.http1 import Headers, HttpAnswer, HttpPool
from ktpy.kube.kubeconfig import Selection
from ktpy.kube.objects import Json
from ktpy.kube.refusals import NeverSent

P = TypeVar("P", bound=asyncio.Protocol)
_PATH_SAFE = "/-._~!$&'()*+,;=:@"
"""What a path may hold as it is (RFC 3986, section 3.3)."""


class Connections:
    """Connections sends requests, and can be started afresh."""

    def __init__(self, endpoint: ApiEndpoint, tls: ssl.SSLContext) -> None:
        """`endpoint` has no credentials but the certificate in `tls`, which may be given another one."""
        self.endpoint, self.tls = endpoint, tls
        self._pool = HttpPool(self.connect, endpoint.host_header)

    @property
    def in_use(self) -> int:
        """How many connections carry a request now."""
        return self._pool.in_use

    @property
    def was_reached(self) -> bool:
        """Whether a connection for requests has ever been made: until then the server was asked for nothing."""
        return self._pool.was_reached

    async def connect(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        """Connect as a port-forward does. Raises NeverSent, Unauthorized."""
        try:
            return await self.endpoint.connect(protocol_factory)
        except ApiUnreachable as exc:
            raise NeverSent(exc.message, hint=exc.hint or _hint(exc.__cause__)) from exc

    async def request(
        self, method: str, path: str, query: str, headers: Headers, body: Json | list[Json] | None
    ) -> HttpAnswer:
        """Send a request; return the head of its answer. Raises what `connect` and `HttpPool.request` do."""
        target = f"{self.endpoint.path_prefix}{quote(path, _PATH_SAFE)}" + (f"?{query}" if query else "")
        sent = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        return await self._pool.request(method, target, [*headers, ("Accept-Encoding", "gzip")], sent)

    def reset(self) -> None:
        """End every connection, and those that are being opened. Later ones use what `tls` holds now."""
        self._pool.reset()


def connections_to(selection: Selection) -> Connections:
    """Make the connections for one context of a kubeconfig. It opens none yet."""
    cluster, url = selection.cluster, selection.target.server
    authority = file_or_data(cluster, "certificate-authority")
    try:
        tls = ssl.create_default_context(cadata=None if authority is None else authority.decode(errors="replace"))
    except (ssl.SSLError, ValueError) as exc:
        said = exc.reason if isinstance(exc, ssl.SSLError) else exc
        raise KubeconfigMissing(f"The certificate authority of this context cannot be used: {said}.") from exc
    # Go does not ask for the extensions that OpenSSL's strict mode (the default from Python 3.13 on) wants in a CA.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if (key_pair := key_pair_of(selection.user)) is not None:
        load_key_pair(tls, key_pair)
    server = urlsplit(url)
    endpoint = replace(
        endpoint_of(url),
        tls=tls if server.scheme == "https" else None,
        server_hostname=cluster.get("tls-server-name"),
        path_prefix=server.path.rstrip("/"),
        proxy=cluster.get("proxy-url") or proxy_for(url),
        user=selection.target.user,
    )
    return Connections(endpoint, tls)


def failure(server_url: str, exc: Exception) -> KtpyError:
    """Return the error for a request that got no answer."""
    endpoint = endpoint_of(server_url)
    if isinstance(exc, TimeoutError):
        return ApiUnreachable(f"The API server at {endpoint.authority} did not answer in time.", hint=_hint(exc))
    error = connection_failure(endpoint, None if isinstance(exc, EOFError) else exc)
    return error.with_hint(error.hint or _hint(exc))


def _hint(cause: BaseException | None) -> str | None:
    match cause:
        case ConnectionRefusedError():
            return "Nothing listens there: is the cluster running, and is this the right context?"
        case socket.gaierror():
            return "The server's name does not resolve: does it need a VPN, or is the kubeconfig out of date?"
        case TimeoutError():
            return "Does it need a VPN or a proxy that is not there now?"
        case OSError():
            return "Is the network up, and does the cluster need a VPN?"
        case _:
            return None
