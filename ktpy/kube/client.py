"""The client of the API server: it takes and gives plain JSON, and raises the errors of `ktpy.errors`.

It has no models: the classes of `kubernetes` would cost the memory and the time that the watch cache needs for itself.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from ktpy.errors import ApiUnreachable, KtpyError
from ktpy.kube import kubeconfig
from ktpy.kube.endpoint import ApiEndpoint, endpoint_of
from ktpy.kube.kubeconfig import KubeContext
from ktpy.kube.objects import Json, parse_object
from ktpy.kube.refusals import Action, NeverSent, refusal
from ktpy.observe.trace import traced

if TYPE_CHECKING:
    from ktpy.kube.connections import Connections
    from ktpy.kube.credentials import Credentials
    from ktpy.kube.http1 import HttpAnswer

REQUEST_TIMEOUT_S = 15.0
BUSY_RETRIES = 3
"""How often a request is repeated when the API server answers 429 or 503 with Retry-After."""
BUSY_WAIT_MAX_S = 5.0
Address = IPv4Address | IPv6Address


class Api:
    """An Api is one user's access to one cluster. `await Api.load(...)` makes it, `await close()` ends it."""

    def __init__(
        self,
        target: KubeContext,
        connections: "Connections",
        credentials: "Credentials",
        headers: list[tuple[str, str]],
    ) -> None:
        self.target = target
        self._connections = connections
        self._credentials = credentials
        self._headers = [("User-Agent", "ktpy"), *headers]
        self._key_pair: tuple[bytes, bytes] | None = None
        self._is_away = False
        """Whether the last request got no answer."""
        self._back = asyncio.Event()

    @classmethod
    async def load(
        cls,
        kubeconfig_paths: str | Sequence[str] | None = None,
        context: str | None = None,
        namespace: str | None = None,
    ) -> "Api":
        """Read the kubeconfig as kubectl does, or take the pod's own service account where there is none.

        Nothing is sent yet. Raises KubeconfigMissing and ContextUnknown.
        """
        selection = kubeconfig.selected(kubeconfig_paths, context, namespace)
        from ktpy.kube.connections import connections_to
        from ktpy.kube.credentials import KubeconfigUser

        def read_again() -> Json:
            return kubeconfig.selected(kubeconfig_paths, selection.target.context, namespace).user

        credentials = KubeconfigUser(selection.user, selection.cluster, read_again)
        return cls(selection.target, connections_to(selection), credentials, kubeconfig.impersonation(selection.user))

    @property
    def namespace(self) -> str:
        """The namespace ktpy works in."""
        return self.target.namespace

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | list[Json] | None = None,
        content_type: str = "application/json",
        timeout_s: float = REQUEST_TIMEOUT_S,
        warnings: list[str] | None = None,
    ) -> Json:
        """Send one request; return its JSON. `warnings` collects the server's Warning headers (RFC 7234, section 5.5).

        Raises an error of `ktpy.errors` for everything that is not a success.
        """
        async with self._send(method, path, query, body, content_type, timeout_s) as answer:
            if warnings is not None:
                warnings += [
                    value.partition(" - ")[2].strip('"') for value in answer.headers.get_all("Warning", failobj=[])
                ]
            return await self._json(answer)

    async def dated(self, path: str, *, query: Mapping[str, str] | None = None) -> tuple[Json, datetime]:
        """Return the answer to a GET, and its time by the API server's own clock (Date, RFC 9110, section 6.6.1)."""
        async with self._send("GET", path, query, None, "", REQUEST_TIMEOUT_S) as answer:
            try:
                answered_at = parsedate_to_datetime(answer.headers.get("Date", ""))
            except ValueError as exc:
                raise ApiUnreachable(f"What answers at {self.target.server} does not tell its time.") from exc
            return await self._json(answer), answered_at

    async def text(
        self, path: str, *, query: Mapping[str, str] | None = None, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> str:
        """Return the answer to a GET as text, such as a pod's log."""
        async with self._send("GET", path, query, None, "", timeout_s) as answer:
            return (await answer.read()).decode(errors="replace")

    async def lines(self, path: str, *, query: Mapping[str, str], silence_s: float) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an answer to a GET that has no end, such as a watch's, until the server ends it.

        After `silence_s` without a byte the link counts as broken: ApiUnreachable.
        """
        with traced("watch", path, level=logging.DEBUG):
            async with (
                self._send("GET", path, query, None, "", None) as answer,
                aclosing(answer.lines(silence_s)) as lines,
            ):
                async for line in lines:
                    yield line

    @asynccontextmanager
    async def websocket(
        self, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a WebSocket of one of the subprotocols; yield its binary messages as they come, until its end.

        Raises what a refusal means, and ApiUnreachable.
        """
        from ktpy.kube.websockets import NoWebSocket, open_websocket

        url, headers = f"{self.target.server}{path}?{urlencode(query)}", await self._fresh_headers()
        try:
            async with open_websocket(self._connections, url, headers, protocols) as messages:
                yield messages
        except NoWebSocket:
            await self.request("GET", path, query=dict(query))
            raise

    async def endpoint(self) -> ApiEndpoint:
        """Return what a raw connection needs: address, TLS, proxy, and credentials that are fresh now."""
        return replace(self._connections.endpoint, headers=await self._fresh_headers())

    @property
    def address(self) -> ApiEndpoint:
        """The address of the API server, and the proxy on the way, as they are without TLS and credentials."""
        return replace(endpoint_of(self.target.server), proxy=self._connections.endpoint.proxy)

    async def renew_credentials(self) -> bool:
        """Get new credentials after a 401 on a raw connection; False when there is no way to get others."""
        return await self._credentials.renew()

    async def addresses(self) -> list[Address]:
        """Resolve where packets to the API server go: its addresses, or the proxy's. These must never be routed."""
        url = urlsplit(self._connections.endpoint.proxy or self.target.server)
        host = url.hostname or ""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise self._unreachable(exc) from exc
        return sorted(
            {ip_address(str(entry[4][0]).partition("%")[0]) for entry in found}, key=lambda a: (a.version, int(a))
        )

    async def sleep(self, pause_s: float) -> None:
        """Sleep, but not longer than until the API server answers again, once it did not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._back.wait()

    @property
    def was_reached(self) -> bool:
        """Whether a connection for requests has ever been made: until then the server was asked for nothing."""
        return self._connections.was_reached

    def note_answer(self) -> None:
        """Wake who sleeps if the API server was away until now."""
        if self._is_away:
            self._is_away = False
            self._back.set()
            self._back = asyncio.Event()

    async def drop_connections(self) -> None:
        """Close the connections that stand, because the way has changed; requests open others."""
        self._is_away = True
        self._connections.reset()

    async def close(self) -> None:
        """Close all connections. Watches end with ApiUnreachable."""
        self._connections.reset()

    async def _json(self, answer: "HttpAnswer") -> Json:
        try:
            return parse_object(await answer.read())
        except ValueError as exc:
            raise ApiUnreachable(f"What answers at {self.target.server} is no Kubernetes API server.") from exc

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json | list[Json] | None,
        content_type: str,
        timeout_s: float | None,
    ) -> AsyncIterator["HttpAnswer"]:
        """Yield the answer to a request once it succeeds. It renews credentials once and waits as Retry-After asks."""
        action = Action.of(method, path, query)
        is_renewed, busy = False, 0
        while True:
            headers = [*await self._fresh_headers(), ("Accept", "application/json")]
            if content_type:
                headers.append(("Content-Type", content_type))
            try:
                async with asyncio.timeout(timeout_s):
                    with traced("request", f"{method} {path}", level=logging.DEBUG):
                        received = await self._connections.request(method, path, urlencode(query or {}), headers, body)
                    self.note_answer()
                    async with received as answer:
                        if answer.status < 300:
                            yield answer
                            return
                        status = _status(await answer.read())
            except NeverSent:
                self._is_away = True
                raise
            except (OSError, EOFError) as exc:
                self._is_away = True
                raise self._unreachable(exc) from exc
            except ValueError as exc:
                raise ApiUnreachable(f"What answers at {self.target.server} is no Kubernetes API server.") from exc
            retry_after = answer.headers.get("Retry-After", "")
            if answer.status == 401 and not is_renewed and await self._credentials.renew():
                is_renewed = True
            elif answer.status in (429, 503) and retry_after.isdecimal() and busy < BUSY_RETRIES:
                busy += 1
                await asyncio.sleep(min(float(retry_after), BUSY_WAIT_MAX_S))
            else:
                raise refusal(answer.status, status, action, self.target.user)

    async def _fresh_headers(self) -> list[tuple[str, str]]:
        authorization = await self._credentials.header()
        if (key_pair := self._credentials.key_pair) is not None and key_pair != self._key_pair:
            self._adopt(key_pair)
        return [*self._headers, *([("Authorization", authorization)] if authorization else [])]

    def _adopt(self, key_pair: tuple[bytes, bytes]) -> None:
        """Use another certificate of a plugin. It counts for new connections only, so the old ones are closed."""
        from ktpy.kube.credentials import load_key_pair

        load_key_pair(self._connections.tls, key_pair)
        self._connections.reset()
        self._key_pair = key_pair

    def _unreachable(self, exc: Exception) -> KtpyError:
        from ktpy.kube.connections import failure

        return failure(self.target.server, exc)


def _status(body: bytes) -> Json:
    """Return the Status object of a refusal; of any other body, its first words as the message."""
    try:
        return parse_object(body)
    except ValueError:
        return {"message": body[:200].decode(errors="replace").strip()}
