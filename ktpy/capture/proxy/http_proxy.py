"""The HTTP side of the proxy: CONNECT, requests with absolute URLs one after the other, and the PAC file."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import h11

from ktpy.aio.task_group import task_group
from ktpy.capture.proxy.counters import ProxyCounters
from ktpy.capture.proxy.destination import Destination, DialFailure
from ktpy.capture.proxy.http_messages import (
    STATUS_OF,
    HttpRefusal,
    admit,
    answer,
    end_to_end,
    forwarded,
    tunnel_destination,
)
from ktpy.capture.proxy.stream import Stream

HEAD_MAX_BYTES: Final = 64 * 1024
HEAD_TIMEOUT_S: Final = 30.0
"""A client that takes longer for its request, or between two, is let go."""
PAC_PATH: Final = b"/proxy.pac"
PAC_TYPE: Final = b"application/x-ns-proxy-autoconfig"
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
NOT_A_PROXY_REQUEST: Final = (
    "This port is ktpy's proxy into the cluster, no web server; it has /proxy.pac for browsers."
)

Connect = Callable[[Destination], Awaitable[Stream]]


@dataclass(slots=True)
class _Origin:
    """An _Origin is a connection to a server, kept for the next request to it."""

    destination: Destination
    stream: Stream
    http: h11.Connection
    is_kept: bool = False


class HttpClient:
    """An HttpClient is one client's connection, from its first byte on."""

    def __init__(
        self,
        near: Stream,
        connect: Connect,
        login: tuple[str, str] | None,
        pac: Callable[[], str],
        counters: ProxyCounters,
    ) -> None:
        self._near = near
        self._connect = connect
        self._login = login
        self._pac = pac
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._origin: _Origin | None = None
        self._counters = counters

    async def serve(self) -> Stream | None:
        """Answer until the client is done. Return what its connection is to be spliced with after a CONNECT."""
        try:
            while True:
                request = await self._next_request()
                if request is None:
                    return None
                if far := await self._answer(request):
                    return far
                if not self._may_go_on():
                    return None
        except h11.RemoteProtocolError as error:
            status = 431 if error.error_status_hint == 431 else 400
            await self._refuse(HttpRefusal(status, f"The request cannot be read: {error}."))
            return None
        finally:
            self._drop_origin()

    async def _next_request(self) -> h11.Request | None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                event = await _next_event(self._http, self._near)
        except TimeoutError:
            if self._http.trailing_data[0]:  # the half of a head
                await self._refuse(HttpRefusal(408, "The request did not come to an end in time."))
            return None
        return event if isinstance(event, h11.Request) else None

    async def _answer(self, request: h11.Request) -> Stream | None:
        """Answer one request; return the far end of a tunnel."""
        try:
            admit(request, self._login)
            if request.method == b"CONNECT":
                return await self._open_tunnel(request)
            if request.target.startswith(b"/") or request.target == b"*":
                await self._answer_itself(request)
            else:
                await self._forward(request)
        except HttpRefusal as refusal:
            await self._refuse(refusal)
        except DialFailure as failure:
            await self._refuse(HttpRefusal(STATUS_OF[failure.kind], failure.sentence))
        return None

    async def _open_tunnel(self, request: h11.Request) -> Stream:
        await _until_end(self._http, self._near)
        far = await self._connect(tunnel_destination(request))
        self._counters.http_connect += 1
        self._near.unread(self._http.trailing_data[0])
        self._near.write(ESTABLISHED)
        return far

    async def _answer_itself(self, request: h11.Request) -> None:
        if request.target != PAC_PATH or request.method not in (b"GET", b"HEAD"):
            raise HttpRefusal(400, NOT_A_PROXY_REQUEST)
        await _until_end(self._http, self._near)
        await self._say(200, self._pac(), PAC_TYPE, is_head=request.method == b"HEAD")

    # --- forwarding

    async def _forward(self, request: h11.Request) -> None:
        destination, onward = forwarded(request)
        self._counters.http_requests += 1
        has_body = not {b"content-length", b"transfer-encoding"}.isdisjoint(name for name, _ in request.headers)
        if not has_body:
            await _until_end(self._http, self._near)
        try:
            origin = await self._origin_at(destination)
            try:
                await self._exchange(origin, onward, has_body=has_body)
            except _NoAnswer:
                if has_body or not origin.is_kept:
                    raise
                # It closed the kept connection just then (RFC 9112, 9.3.1).
                await self._exchange(await self._origin_at(destination), onward, has_body=False)
        except _NoAnswer as why:
            raise HttpRefusal(502, f"{destination} closed the connection without an HTTP answer ({why}).") from why

    async def _origin_at(self, destination: Destination) -> _Origin:
        kept = self._origin
        if kept and kept.destination == destination and not kept.stream.has_more:
            kept.is_kept = True
            return kept
        self._drop_origin()
        stream = await self._connect(destination)
        self._origin = _Origin(destination, stream, h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20))
        return self._origin

    async def _exchange(self, origin: _Origin, request: h11.Request, *, has_body: bool) -> None:
        """Send the request, and pass its body and the answer on side by side. Raises _NoAnswer."""
        try:
            await _send_on(origin, request)
            if not has_body:
                await _send_on(origin, h11.EndOfMessage())
                await self._pass_answer(origin)
                return
            async with task_group() as tasks:
                sending = tasks.create_task(self._pass_body(origin), name="pass body")
                await self._pass_answer(origin)
                sending.cancel()  # where it was answered before all was sent, neither connection goes on
        finally:
            if origin.http.our_state is h11.DONE and origin.http.their_state is h11.DONE:
                origin.http.start_next_cycle()
            else:
                self._drop_origin()

    async def _pass_body(self, origin: _Origin) -> None:
        event: object = None
        while not isinstance(event, h11.EndOfMessage):
            event = await _next_event(self._http, self._near)
            assert isinstance(event, h11.Data | h11.EndOfMessage)  # noqa: S101 - h11 gives nothing else within a body
            await _send_on(origin, event)

    async def _pass_answer(self, origin: _Origin) -> None:
        """Pass the answer on. Raises _NoAnswer where none has begun, and ConnectionError where it breaks off."""
        has_begun = False
        while True:
            try:
                event = await _next_event(origin.http, origin.stream)
            except (ConnectionError, h11.RemoteProtocolError) as error:
                if has_begun:
                    raise ConnectionResetError("the answer broke off") from error
                raise _NoAnswer(str(error)) from error
            match event:
                case h11.InformationalResponse():
                    if self._http.their_http_version != b"1.0":
                        await self._send(_as_sent_on(event))
                case h11.Response():
                    has_begun = True
                    await self._send(_as_sent_on(event))
                case h11.Data():
                    await self._send(event)
                case h11.EndOfMessage():
                    await self._send(event)
                    return
                case _:
                    raise _NoAnswer("it ended")

    def _drop_origin(self) -> None:
        if self._origin:
            self._origin.stream.end(None)
        self._origin = None

    # --- the client

    def _may_go_on(self) -> bool:
        """Return whether the client may send another request on its connection, and make ready for it."""
        http = self._http
        if http.our_state is not h11.DONE:
            return False
        if http.their_state is h11.SEND_BODY and not isinstance(http.next_event(), h11.EndOfMessage):
            return False  # the rest of a request that was not wanted
        if http.their_state is not h11.DONE:
            return False
        http.start_next_cycle()
        return True

    async def _refuse(self, refusal: HttpRefusal) -> None:
        """Answer with a sentence, unless an answer has begun."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._say(refusal.status, f"ktpy: {refusal.sentence}\n")

    async def _say(
        self, status: int, text: str, content_type: bytes = b"text/plain; charset=utf-8", *, is_head: bool = False
    ) -> None:
        body = text.encode()
        await self._send(answer(status, body, content_type))
        if not is_head:
            await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        await self._near.send(self._http.send(event) or b"")


class _NoAnswer(Exception):
    """The server has closed the connection, or speaks no HTTP, before an answer has begun."""


def _as_sent_on(head: h11.Response | h11.InformationalResponse) -> h11.Response | h11.InformationalResponse:
    headers = end_to_end(head.headers.raw_items())
    return type(head)(status_code=head.status_code, headers=headers, reason=head.reason)


async def _send_on(origin: _Origin, event: h11.Event) -> None:
    """Send a part of the request. A server that has closed may have answered before."""
    with suppress(ConnectionError):
        await origin.stream.send(origin.http.send(event) or b"")


async def _next_event(http: h11.Connection, stream: Stream) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await stream.receive())
    return event


async def _until_end(http: h11.Connection, stream: Stream) -> None:
    while not isinstance(await _next_event(http, stream), h11.EndOfMessage):
        pass
