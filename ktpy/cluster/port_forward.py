"""A byte stream to a port of a pod, over the WebSocket port-forward of the API server (`v4.channel.k8s.io`).

Each message begins with a channel number: 0 carries the data, 1 the text of an error that ends the forward. The first
two bytes from the server on each channel repeat the port (k8s.io/cri-streaming, portforward/websocket.go).
One TLS connection, one asyncio protocol: no thread, no WebSocket library, no listener on loopback in between.

A forward has no half-close and one reset inside the pod ends it (kubernetes#111825): carry SSH over it, which has both.
"""

import asyncio
import base64
import http.client
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar, cast

from ktpy import __version__
from ktpy.cluster.endpoint import Endpoint, connection_failure, head_length, parse_response, reason
from ktpy.cluster.refusals import Action, refusal
from ktpy.cluster.websocket import (
    BINARY,
    CLOSE,
    PONG,
    Close,
    FrameError,
    FrameReader,
    Payload,
    Ping,
    accept_key,
    client_header,
)
from ktpy.errors import ApiRefused, ApiUnreachable, KtpyError, LinkLost, PodNotReady

P = TypeVar("P", bound=asyncio.Protocol)

SUBPROTOCOL: Final = "v4.channel.k8s.io"
UPGRADE_TIMEOUT_S: Final = 10.0
FRAME_BYTES: Final = 64 << 10
"""Writes of one turn of the event loop go out as one frame, unless there are more bytes than this."""
WRITE_HIGH_WATER_BYTES: Final = 256 << 10
_ANSWER_LIMIT_BYTES: Final = 256 << 10
_ERROR_TEXT_LIMIT_BYTES: Final = 16 << 10
_PORT_BYTES: Final = 2
_DATA, _ERROR = 0, 1


class PortForwardNotYet(PodNotReady):
    """The pod cannot be reached now but may be in a moment: it has no node, no network, or nobody listens in it yet."""


class PortForward:
    """Opens connections to one port of one pod. asyncssh takes it as its `tunnel=`."""

    def __init__(
        self,
        endpoint_source: Callable[[], Awaitable[Endpoint]],
        namespace: str,
        pod: str,
        port: int,
        *,
        timeout_s: float = UPGRADE_TIMEOUT_S,
    ) -> None:
        """`endpoint_source` is asked for each connection, since credentials expire."""
        self.namespace = namespace
        self.pod = pod
        self.port = port
        self._endpoint_source = endpoint_source
        self._timeout_s = timeout_s
        self._connections: set[PortForwardConnection] = set()

    async def create_connection(
        self, protocol_factory: Callable[[], P], _host: str = "", _port: int = 0
    ) -> tuple[asyncio.Transport, P]:
        """Connect as `loop.create_connection` does. Host and port are the caller's names for what is in the pod.

        Returns when the API server has upgraded the connection. Whether somebody listens in the pod shows later:
        then `connection_lost` gets a PortForwardNotYet. Raises that, or what the API server's refusal means.
        """
        endpoint = await self._endpoint_source()
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}/portforward"
        transport, connection = await endpoint.connect(
            lambda: PortForwardConnection(endpoint, path, self.port), timeout_s=self._timeout_s
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.upgraded
        except TimeoutError as exc:
            transport.abort()
            raise PortForwardNotYet(
                f"The port-forward to pod {self.pod} did not open within {self._timeout_s:g} s."
            ) from exc
        except BaseException:
            transport.abort()
            raise
        self._connections.add(connection)
        connection.on_lost = self._connections.discard
        protocol = protocol_factory()
        connection.begin(protocol)
        return connection, protocol

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._connections):
            connection.close()


class PortForwardConnection(asyncio.Transport, asyncio.Protocol):
    """The protocol of the connection to the API server, and the transport of the one inside."""

    def __init__(self, endpoint: Endpoint, path: str, port: int) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.upgraded: asyncio.Future[None] = loop.create_future()
        self.on_lost: Callable[[PortForwardConnection], None] | None = None
        self._loop = loop
        self._endpoint = endpoint
        self._path = path
        self._port = port
        self._key = base64.b64encode(os.urandom(16)).decode()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until connection_made
        self._inner: asyncio.Protocol | None = None
        self._answer = b""  # of the upgrade, while it is incomplete
        self._early = b""  # what came right behind it
        self._reader = FrameReader()
        self._channel = -1  # of the current message
        self._port_bytes_left = [_PORT_BYTES, _PORT_BYTES]
        self._data_seen = False
        self._error_text = b""
        self._error: Exception | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._closing = False

    # --- the outside: asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH_WATER_BYTES)
        headers = {
            "Host": self._endpoint.authority,
            "User-Agent": f"ktpy/{__version__}",
            **self._endpoint.headers,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self._key,
            "Sec-WebSocket-Protocol": SUBPROTOCOL,
        }
        lines = [f"GET {self._endpoint.path_prefix}{self._path}?ports={self._port} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def begin(self, inner: asyncio.Protocol) -> None:
        """Join the protocol inside, once `upgraded` is done."""
        self._inner = inner
        inner.connection_made(self)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)
        if self._error or self._transport.is_closing():
            self._loop.call_soon(self._lose, self._error)

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            self._await_upgrade(data)
            return
        try:
            events = self._reader.feed(data)
        except FrameError as exc:
            self._fail(LinkLost(f"The port-forward broke: the API server sends no WebSocket frames ({exc})."))
            return
        for event in events:
            if self._closing:
                return
            if isinstance(event, Payload):
                self._take(event)
            elif isinstance(event, Ping):
                self._flush()
                self._transport.write(client_header(PONG, len(event.data)) + event.data)
            else:
                self._end(event)

    def pause_writing(self) -> None:
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner:
            self._inner.resume_writing()

    def eof_received(self) -> None:
        """The TCP connection ends; the transport closes by itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._outgoing.clear()
        if not self.upgraded.done():
            self.upgraded.set_exception(
                connection_failure(self._endpoint, exc)
                if exc
                else ApiUnreachable(
                    f"The API server at {self._endpoint.authority} closed the connection during upgrade."
                )
            )
        error = self._error
        if error is None and not self._closing:
            error = self._broken(reason(exc))
            error.__cause__ = exc
        self._lose(error)

    # --- the inside: asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue until the end of this turn of the event loop: an SSH packet is several writes, a burst is many packets.

        One frame then costs one TLS record, one system call, and one message on each of the three hops to the pod.
        """
        if self._closing:
            return
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(bytes(data))
        self._outgoing_bytes += len(data)
        if self._outgoing_bytes >= FRAME_BYTES:
            self._flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """Send what is queued and close; `connection_lost(None)` follows."""
        if self._closing:
            return
        self._flush()
        self._closing = True
        self._transport.write(client_header(CLOSE, 2) + b"\x03\xe8")  # 1000, normal closure
        self._transport.close()

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._transport.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        return self._outgoing_bytes + self._transport.get_write_buffer_size()

    # --- between the two

    def _await_upgrade(self, data: bytes) -> None:
        if self.upgraded.done():
            self._early += data
            return
        self._answer += data
        try:
            response = parse_response(self._answer)
            if response is None:
                return
            if response.status == 101:
                self._check_upgrade(response)
                self._early = self._answer[cast(int, head_length(self._answer)) :]
                self._answer = b""
                self.upgraded.set_result(None)
                return
            try:
                body = response.read()
            except http.client.IncompleteRead as exc:
                if len(self._answer) < _ANSWER_LIMIT_BYTES:
                    return
                body = exc.partial
            raise self._refusal(response.status, body)
        except KtpyError as exc:
            self.upgraded.set_exception(exc)
        except (http.client.HTTPException, ValueError) as exc:
            error = ApiUnreachable(f"What answers at {self._endpoint.authority} is no API server: {reason(exc)}.")
            error.__cause__ = exc
            self.upgraded.set_exception(error)

    def _check_upgrade(self, response: http.client.HTTPResponse) -> None:
        accepted = response.getheader("Sec-WebSocket-Accept") == accept_key(self._key)
        if not accepted or response.getheader("Sec-WebSocket-Protocol") != SUBPROTOCOL:
            raise ApiRefused(
                f"The API server at {self._endpoint.authority} did not open a {SUBPROTOCOL} WebSocket.",
                hint="Something between ktpy and the API server may not let WebSocket connections through.",
            )

    def _refusal(self, status: int, body: bytes) -> KtpyError:
        """The error for an answer that is no upgrade.

        The kubelet's answers pass through the API server as they are, in plain text. What it does not know yet
        is 404 or 500 there, while a 404 of the API server itself, a Status object, is final.
        """
        try:
            answer = json.loads(body)
            from_api_server = isinstance(answer, dict) and answer.get("kind") == "Status"
        except ValueError:
            from_api_server = False
        if not from_api_server:
            answer = {"message": body[:_ERROR_TEXT_LIMIT_BYTES].decode(errors="replace").strip() or f"HTTP {status}"}
        message = str(answer.get("message"))
        unscheduled = status == 400 and "does not have a host assigned" in message
        if unscheduled or status == 429 or status >= 500 or (status == 404 and not from_api_server):
            return PortForwardNotYet(f"The pod cannot be reached yet: {message}.")
        return refusal(status, answer, Action.of("GET", self._path))

    def _take(self, piece: Payload) -> None:
        """A piece of a message: the channel number, then perhaps bytes of the port number, then what was sent."""
        data = piece.data
        if piece.first:
            self._channel = -1
        if self._channel < 0:
            if not data:
                return
            self._channel = data[0]
            data = data[1:]
        channel = self._channel
        if channel > _ERROR:
            return  # a later protocol's, perhaps; ours has two
        skip = self._port_bytes_left[channel]
        if skip:
            self._port_bytes_left[channel] -= min(skip, len(data))
            data = data[skip:]
        if channel == _DATA:
            if data:
                self._data_seen = True
                cast(asyncio.Protocol, self._inner).data_received(data)
            return
        self._error_text = (self._error_text + data)[:_ERROR_TEXT_LIMIT_BYTES]
        if piece.last and self._error_text:
            self._fail(self._broken(self._error_text.decode(errors="replace").strip()))

    def _end(self, close: Close) -> None:
        self._fail(self._broken(close.reason or f"closed by the cluster, WebSocket code {close.code}"))

    def _broken(self, why: str) -> KtpyError:
        """Before the first byte from the pod nobody listened there; afterwards a working link broke."""
        if self._data_seen:
            return LinkLost(f"The port-forward to the pod broke: {why}.")
        return PortForwardNotYet(f"The pod does not answer yet: {why}.")

    def _flush(self) -> None:
        outgoing = self._outgoing
        if not outgoing:
            return
        header = client_header(BINARY, self._outgoing_bytes + 1) + b"\x00"  # channel 0
        self._outgoing, self._outgoing_bytes = [], 0
        self._transport.write(b"".join((header, *outgoing)))

    def _fail(self, error: Exception) -> None:
        self._error = error
        self.abort()

    def _lose(self, error: Exception | None) -> None:
        """Tell the inside that it is over, once."""
        inner, self._inner = self._inner, None
        self._closing = True
        if inner:
            inner.connection_lost(error)
        if self.on_lost:
            self.on_lost(self)
