"""The address of the API server, and raw connections to it.

The client library keeps its connections to itself, and a port-forward needs one of its own: a byte stream on
which our frames travel without a copy in between. So `ApiEndpoint` carries what the client configuration resolved to
(address, TLS, credentials, proxy), and `connect` opens a transport from it.
"""

import asyncio
import base64
import errno
import http.client
import io
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, unquote, urlsplit

import aiohappyeyeballs

from ktpy.errors import ApiUnreachable, KtpyError, Unauthorized
from ktpy.frozen import dataclass
from ktpy.kube import socks5

P = TypeVar("P", bound=asyncio.Protocol)

CONNECT_TIMEOUT_S = 10.0
TRY_EVERY_S = 1.0
TRIES = 10
HEAD_LIMIT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """An ApiEndpoint is an API server as one caller reaches it, with credentials, which repr does not show."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """None means plain HTTP, as `kubectl proxy` serves it. The context holds the client certificate."""
    server_hostname: str | None = None
    """The name the certificate must bear; None means `host`."""
    path_prefix: str = ""
    """The path of a server such as https://rancher/k8s/clusters/x, without a slash at the end."""
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    proxy: str | None = field(default=None, repr=False)
    """The URL of an HTTP, HTTPS or SOCKS5 proxy, with user and password if it wants them."""
    user: str = ""
    """The kubeconfig's name of the user, for errors."""

    @property
    def authority(self) -> str:
        """The host and port as HTTP writes them, with IPv6 in brackets (RFC 3986, section 3.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The authority as it goes into Host: without the scheme's default port (RFC 9110, section 7.2)."""
        return self.authority.removesuffix(":443" if self.tls else ":80")

    async def connect(
        self, protocol_factory: Callable[[], P], *, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> tuple[asyncio.Transport, P]:
        """Open a transport to the API server, as `loop.create_connection` does; TLS is done when it returns.

        Raises ApiUnreachable, and Unauthorized when the server turns the client certificate down in the handshake.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if self.proxy is not None:
                    return await self._connect_by_proxy(self.proxy, protocol_factory)
                transport, protocol = await asyncio.get_running_loop().create_connection(
                    protocol_factory,
                    sock=await _connected(self.host, self.port),
                    ssl=self.tls,
                    server_hostname=self._certificate_name,
                )
                return transport, protocol
        except TimeoutError as exc:
            raise ApiUnreachable(f"The API server at {self.authority} did not answer within {timeout_s:g} s.") from exc
        except OSError as exc:
            raise connection_failure(self, exc) from exc

    @property
    def _certificate_name(self) -> str | None:
        """The name to verify: asyncio wants one with TLS, and none without."""
        return (self.server_hostname or self.host) if self.tls else None

    async def _connect_by_proxy(self, url: str, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        """Connect through the proxy, with TLS inside, so that it sees nothing."""
        transport = await _open_proxied(urlsplit(url), self)
        try:
            protocol = protocol_factory()
            if self.tls:
                # The cast: None would mean a transport already closed, but then TLS has raised.
                transport = cast(
                    asyncio.Transport,
                    await asyncio.get_running_loop().start_tls(
                        transport, protocol, self.tls, server_hostname=self._certificate_name
                    ),
                )
            else:
                transport.set_protocol(protocol)
            protocol.connection_made(transport)
        except BaseException:
            transport.abort()
            raise
        return transport, protocol


def endpoint_of(url: str) -> ApiEndpoint:
    """Return the host and port of a server's URL, as an endpoint without anything else."""
    server = urlsplit(url)
    return ApiEndpoint(server.hostname or "", server.port or (443 if server.scheme == "https" else 80))


async def _open_proxied(proxy: SplitResult, server: ApiEndpoint) -> asyncio.Transport:
    """Open a transport on which the proxy passes everything on (CONNECT, RFC 9110, section 9.3.6; SOCKS5)."""
    shown = _without_password(proxy)
    if proxy.scheme not in ("http", "https", "socks5", "socks5h") or not proxy.hostname:
        raise KtpyError(
            f"ktpy cannot reach the API server through the proxy {shown}: it speaks to http://, https:// "
            "and socks5:// ones only.",
            hint="Set proxy-url in the kubeconfig (or HTTPS_PROXY) to a SOCKS5 proxy, or to an HTTP one with CONNECT.",
        )
    secure, is_socks = proxy.scheme == "https", proxy.scheme.startswith("socks")
    reader = asyncio.StreamReader(HEAD_LIMIT_BYTES)
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: asyncio.StreamReaderProtocol(reader),
            sock=await _connected(proxy.hostname, proxy.port or (443 if secure else 1080 if is_socks else 80)),
            ssl=ssl.create_default_context() if secure else None,
            server_hostname=proxy.hostname if secure else None,
        )
    except OSError as exc:
        raise ApiUnreachable(
            f"The proxy {shown} on the way to the API server cannot be reached: {reason(exc)}."
        ) from exc
    try:
        if is_socks:
            await socks5.connect(transport, reader, server.host, server.port, _login(proxy))
            return transport
        transport.write(_connect_request(server.authority, proxy))
        status, text = await _connect_reply(reader)
        if status == 200:
            return transport
        hint = "Put user and password in the proxy's URL: http://user:password@host:port." if status == 407 else None
        why = f"{status} {text}"
    except socks5.Socks5Error as exc:
        hint, why = None, str(exc)
    except (OSError, EOFError) as exc:
        transport.abort()
        closed = reason(exc if isinstance(exc, OSError) else None)
        raise ApiUnreachable(f"The proxy on the way to the API server closed the connection: {closed}.") from exc
    except BaseException:
        transport.abort()
        raise
    transport.abort()
    raise ApiUnreachable(f"The proxy {shown} does not let ktpy through to {server.authority}: {why}.", hint=hint)


async def _connected(host: str, port: int) -> socket.socket:
    """Connect to whichever of the host's addresses answers first. Raises OSError.

    A SYN that is lost is repeated by the kernel after 1 s, then later and later. When a way has just become free, that
    is waited for in vain: so each second another connection is tried beside those that wait.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await aiohappyeyeballs.start_connection(found * TRIES, happy_eyeballs_delay=TRY_EVERY_S)


def connection_failure(endpoint: ApiEndpoint, exc: Exception | None) -> KtpyError:
    """Return the error for a connection to the API server that failed or broke."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return ApiUnreachable(
            f"The certificate of the API server at {endpoint.authority} is not trusted: {exc.verify_message}.",
            hint="Check certificate-authority-data (and tls-server-name) of the cluster in the kubeconfig.",
        )
    # With TLS 1.3 the verdict on a client certificate comes after the handshake, as an alert on the first read.
    if isinstance(exc, ssl.SSLError) and "ALERT" in (exc.reason or "") and "PROTOCOL_VERSION" not in (exc.reason or ""):
        return Unauthorized(
            f"The API server at {endpoint.authority} turned the TLS handshake down: {reason(exc)}.",
            hint="Renew the client certificate of the user in the kubeconfig.",
        )
    return ApiUnreachable(f"The API server at {endpoint.authority} cannot be reached: {reason(exc)}.")


def reason(exc: Exception | None) -> str:
    """Describe a cause in the few words that follow a colon."""
    if exc is None:
        return "the connection was closed"
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return f"TLS: {exc.reason.replace('_', ' ').lower()}"
    if isinstance(exc, OSError) and exc.strerror:
        # asyncio says "Connect call failed" for everything
        return os.strerror(exc.errno) if exc.errno and exc.errno in errno.errorcode else exc.strerror
    return " ".join(str(exc).split()).rstrip(".") or type(exc).__name__  # some say it in several lines


def parse_response(received: bytes) -> http.client.HTTPResponse | None:
    """Parse an HTTP/1.1 response head once it is complete; its body is `received[head_length(received):]`.

    Raises http.client.HTTPException for what is no HTTP, or longer than HEAD_LIMIT_BYTES.
    """
    if head_length(received) is None:
        if len(received) > HEAD_LIMIT_BYTES:
            raise http.client.HTTPException("the response head has no end")
        return None
    response = http.client.HTTPResponse(cast(Any, _Received(received)), method="GET")
    response.begin()
    return response


def head_length(received: bytes) -> int | None:
    """Return the length of the response head with its empty line; None while it is not complete."""
    end = received.find(b"\r\n\r\n")
    return end + 4 if end >= 0 else None


class _Received:
    """_Received wraps bytes as the socket that http.client insists on."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._received)


def _connect_request(authority: str, proxy: SplitResult) -> bytes:
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if (login := _login(proxy)) is not None:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(':'.join(login).encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _login(proxy: SplitResult) -> tuple[str, str] | None:
    return None if proxy.username is None else (unquote(proxy.username), unquote(proxy.password or ""))


async def _connect_reply(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Return the status and reason of the proxy's answer to CONNECT, which has no body."""
    try:
        response = parse_response(await reader.readuntil(b"\r\n\r\n"))
    except (http.client.HTTPException, ValueError, asyncio.LimitOverrunError) as exc:
        raise ApiUnreachable(f"The proxy on the way to the API server answers no HTTP: {exc}.") from exc
    assert response is not None  # noqa: S101 - the head is complete
    return response.status, response.reason


def _without_password(proxy: SplitResult) -> str:
    host = proxy.hostname or ""
    return f"{proxy.scheme}://{host}" + (f":{proxy.port}" if proxy.port else "")
