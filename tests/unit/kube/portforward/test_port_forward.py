"""The port-forward against a small server that speaks its part of the API server's side, byte by byte."""

import asyncio
import base64
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from ktpy.errors import ApiRefused, ApiUnreachable, Forbidden, KtpyError, LinkLost, Unauthorized
from ktpy.kube.client import Api
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.kube.portforward import port_forward
from ktpy.kube.portforward.connection import FRAME_BYTES, PortForwardConnection
from ktpy.kube.portforward.framing import ChannelFraming
from ktpy.kube.portforward.port_forward import PortForward, PortForwardNotYet
from ktpy.kube.portforward.spdy import SpdyFraming
from ktpy.kube.portforward.upgrade import NotForwarded
from ktpy.kube.portforward.websocket import accept_key
from ktpy.kube.refusals import NotFound, RightMissing
from tests.unit.kube.api_stub import INSECURE, kubeconfig, refusing, server_side, serving
from tests.unit.kube.certificates import KeyPair
from tests.unit.kube.portforward.test_websocket import frame

PORT = 2222
PORT_BYTES = struct.pack("<H", PORT)
DATA, ERROR = b"\x00", b"\x01"
SUBPROTOCOL = ChannelFraming.subprotocol
SPDY_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
)
PREAMBLE = frame(2, DATA + PORT_BYTES) + frame(2, ERROR + PORT_BYTES)


class Inner(asyncio.Protocol):
    """The protocol on top of the forward."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.received = bytearray()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self.paused = asyncio.Event()
        self.resumed = asyncio.Event()
        self._wanted: list[tuple[int, asyncio.Future[None]]] = []

    def data_received(self, data: bytes) -> None:
        self.received += data
        for size, reached in self._wanted:
            if len(self.received) >= size and not reached.done():
                reached.set_result(None)

    def pause_writing(self) -> None:
        self.paused.set()

    def resume_writing(self) -> None:
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    async def read(self, size: int) -> bytes:
        reached = asyncio.get_running_loop().create_future()
        self._wanted.append((size, reached))
        self.data_received(b"")
        async with asyncio.timeout(5):
            await reached
        return bytes(self.received)

    async def end(self) -> Exception | None:
        async with asyncio.timeout(5):
            return await self.lost


class ApiServer:
    """The far side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""

    async def request(self) -> str:
        self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        return self.head

    async def upgrade(self, behind: bytes = PREAMBLE, *, subprotocol: str = SUBPROTOCOL) -> None:
        await self.request()
        self.send(self.switching(subprotocol=subprotocol) + behind)

    def switching(self, *, subprotocol: str = SUBPROTOCOL) -> bytes:
        key = self.head.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        ).encode()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the client's next frame; its mask must be zero."""
        first, second = await self.reader.readexactly(2)
        assert second & 0x80, "a client masks"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await self.reader.readexactly(8))
        assert await self.reader.readexactly(4) == bytes(4)
        return first, await self.reader.readexactly(length)


Script = Callable[[ApiServer], Awaitable[None]]


class Reached:
    """An API server that listens at an endpoint; the user's next tokens are `renewed`."""

    def __init__(self, endpoint: ApiEndpoint, renewed: Sequence[str]) -> None:
        self._endpoint, self._token, self._renewed = endpoint, "t0ken", list(renewed)

    async def endpoint(self) -> ApiEndpoint:
        return replace(self._endpoint, headers=[("Authorization", f"Bearer {self._token}")])

    async def renew_credentials(self) -> bool:
        if not self._renewed:
            return False
        self._token = self._renewed.pop(0)
        return True


@asynccontextmanager
async def forwarding(script: Script, *, renewed: Sequence[str] = (), **options: Any) -> AsyncIterator[PortForward]:
    """A port-forward to a server that follows the script; what goes wrong in the script fails the test."""
    failures: list[BaseException] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            await script(ApiServer(reader, writer))
        except (AssertionError, asyncio.IncompleteReadError) as exc:
            failures.append(exc)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    try:
        endpoint = ApiEndpoint(address[0], address[1], path_prefix="/k8s/clusters/c1", user="al")
        yield PortForward(Reached(endpoint, renewed), "shop", "shadow-1", PORT, **options)
    finally:
        server.close()
        if serving:
            _, pending = await asyncio.wait({task for task in serving if task}, timeout=5)
            assert not pending, "the client left its connection open"
    assert not failures, failures


async def test_request_and_data_both_ways() -> None:
    async def script(api: ApiServer) -> None:
        await api.upgrade(PREAMBLE + frame(2, DATA + b"hello"))
        assert api.head.startswith(
            "GET /k8s/clusters/c1/api/v1/namespaces/shop/pods/shadow-1/portforward?ports=2222 HTTP/1.1\r\n"
        )
        assert "Authorization: Bearer t0ken\r\n" in api.head
        assert await api.frame() == (0x82, DATA + b"hi")
        api.send(frame(2, DATA + b" again"))

    async with forwarding(script) as forward:
        transport, inner = await forward.create_connection(Inner, "ignored", 0)
        assert await inner.read(5) == b"hello"
        transport.write(b"hi")
        assert await inner.read(11) == b"hello again"
        transport.abort()


async def test_upgrade_split_at_every_boundary() -> None:
    for boundary in range(0, 320, 7):
        sent = asyncio.Event()

        async def script(api: ApiServer, boundary: int = boundary, sent: asyncio.Event = sent) -> None:
            await api.request()
            answer = api.switching() + PREAMBLE + frame(2, DATA + b"SSH-2.0")
            api.send(answer[:boundary])
            await api.writer.drain()
            await asyncio.sleep(0)
            api.send(answer[boundary:])
            await sent.wait()

        async with forwarding(script) as forward:
            transport, inner = await forward.create_connection(Inner)
            assert await inner.read(7) == b"SSH-2.0"
            sent.set()
            transport.abort()


async def test_tunnelled_spdy() -> None:
    """Both framings are offered; with this one data waits for the node's word that the stream is open."""
    reply = struct.pack(">HHII", 0x8003, 2, 4, 3)
    data = struct.pack(">II", 3, 7) + b"SSH-2.0"
    ping = struct.pack(">HHII", 0x8003, 6, 4, 2)

    async def script(api: ApiServer) -> None:
        await api.request()
        assert "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io\r\n" in api.head
        api.send(api.switching(subprotocol=SpdyFraming.subprotocol))
        assert await api.frame() == (0x82, SpdyFraming(PORT).opening())
        api.send(frame(2, reply + data[:10]))
        api.send(frame(2, data[10:] + ping))
        assert await api.frame() == (0x82, ping)
        assert await api.frame() == (0x82, struct.pack(">II", 3, 5) + b"hello")

    async with forwarding(script) as forward:
        transport, inner = await forward.create_connection(Inner)
        assert await inner.read(7) == b"SSH-2.0"
        transport.write(b"hello")
        assert isinstance(await inner.end(), LinkLost)


async def test_ping_is_answered_in_order() -> None:
    async def script(api: ApiServer) -> None:
        await api.upgrade(PREAMBLE + frame(2, DATA + b"x"))
        assert await api.frame() == (0x82, DATA + b"first")
        api.send(frame(9, b"are you there"))
        assert await api.frame() == (0x8A, b"are you there")

    async with forwarding(script) as forward:
        transport, inner = await forward.create_connection(Inner)
        transport.write(b"first")
        await inner.read(1)
        await inner.end()


async def test_close_sends_what_is_queued_and_says_goodbye() -> None:
    frames: list[tuple[int, bytes]] = []

    async def script(api: ApiServer) -> None:
        await api.upgrade()
        frames.extend([await api.frame(), await api.frame()])

    async with forwarding(script) as forward:
        transport, inner = await forward.create_connection(Inner)
        transport.write(b"last words")
        transport.close()
        assert transport.is_closing()
        transport.write(b"too late")
        assert await inner.end() is None
    assert frames == [(0x82, DATA + b"last words"), (0x88, struct.pack(">H", 1000))]


async def test_closing_the_forward_closes_its_connections() -> None:
    async def script(api: ApiServer) -> None:
        await api.upgrade()
        await api.reader.read()

    async with forwarding(script) as forward:
        inners = [(await forward.create_connection(Inner))[1] for _ in range(3)]
        forward.close()
        assert [await inner.end() for inner in inners] == [None, None, None]


async def test_a_connection_that_has_ended_holds_no_memory() -> None:
    """It may wait long for the collection of garbage."""

    async def script(api: ApiServer) -> None:
        await api.upgrade()
        await api.reader.read()

    async with forwarding(script) as forward:
        connection, inner = await forward.create_connection(Inner)
        assert isinstance(connection, PortForwardConnection)
        connection.close()
        await inner.end()
        assert len(connection.get_buffer(0)) == 0


# --- refusals


def status(code: int, message: str, reason: str = "") -> tuple[int, bytes]:
    return code, json.dumps({"kind": "Status", "message": message, "reason": reason, "code": code}).encode()


REFUSALS: dict[str, tuple[tuple[int, bytes], type[KtpyError], str]] = {
    "credentials": (status(401, "Unauthorized"), Unauthorized, "Unauthorized"),
    "RBAC": (
        status(403, 'pods "shadow-1" is forbidden: User "al" cannot get resource "pods/portforward"'),
        RightMissing,
        "al may not get pods/portforward in namespace shop",
    ),
    "RBAC's second look": (
        status(403, 'pods "shadow-1" is forbidden: '),
        RightMissing,
        "al may not create pods/portforward in namespace shop",
    ),
    "a webhook on CONNECT": (
        status(403, 'pods "shadow-1" is forbidden: not on Fridays'),
        ApiRefused,
        "not on Fridays",
    ),
    "no such pod": (status(404, 'pods "shadow-1" not found', "NotFound"), NotFound, "not found"),
    "no node yet": (status(400, "pod shadow-1 does not have a host assigned"), PortForwardNotYet, "host assigned"),
    "bad request": (status(400, "unable to parse port"), ApiRefused, "unable to parse"),
    "kubelet does not know the pod": ((404, b"pod does not exist"), PortForwardNotYet, "pod does not exist"),
    "kubelet sees no sandbox": ((500, b'pod not found ("x")'), PortForwardNotYet, "pod not found"),
    "overloaded": (status(429, "slow down"), PortForwardNotYet, "slow down"),
    "gateway's page": ((502, b"<html>bad gateway</html>"), PortForwardNotYet, "bad gateway"),
    "no body": ((503, b""), PortForwardNotYet, "HTTP 503"),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_refusal(name: str, chunked: bool) -> None:
    (code, body), error, message = REFUSALS[name]

    async def script(api: ApiServer) -> None:
        await api.request()
        head, content = f"HTTP/1.1 {code} No\r\n", body
        if chunked:
            head += "Transfer-Encoding: chunked\r\n"
            chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            content = chunk + b"0\r\n\r\n"
        else:
            head += f"Content-Length: {len(body)}\r\n"
        api.send((head + "\r\n").encode())
        await asyncio.sleep(0)
        api.send(content[:9])
        await api.writer.drain()
        api.send(content[9:])
        await api.reader.read()  # an API server keeps the connection open

    async with forwarding(script) as forward:
        with pytest.raises(error, match=message) as raised:
            await forward.create_connection(Inner)
        assert type(raised.value) is error


class TestRenewal:
    """A 401 is answered once with new credentials, as for a request."""

    @staticmethod
    def accepting(token: str) -> tuple[Script, list[str]]:
        """A server that upgrades for this token and says 401 to others; and the tokens it has seen."""
        seen: list[str] = []

        async def script(api: ApiServer) -> None:
            head = await api.request()
            seen.append(head.partition("Authorization: Bearer ")[2].partition("\r\n")[0])
            if seen[-1] == token:
                api.send(api.switching() + PREAMBLE + frame(2, DATA + b"hello"))
            else:
                api.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nUnauthorized")
            await api.reader.read()

        return script, seen

    async def test_a_token_that_has_expired_is_renewed(self) -> None:
        script, seen = self.accepting("new")
        async with forwarding(script, renewed=["new"]) as forward:
            transport, inner = await forward.create_connection(Inner)
            assert await inner.read(5) == b"hello"
            transport.abort()
        assert seen == ["t0ken", "new"]

    async def test_new_credentials_that_do_not_help_either(self) -> None:
        script, seen = self.accepting("another")
        async with forwarding(script, renewed=["new", "newer"]) as forward:
            with pytest.raises(Unauthorized):
                await forward.create_connection(Inner)
        assert seen == ["t0ken", "new"]

    async def test_without_others_the_refusal_stands(self) -> None:
        script, seen = self.accepting("new")
        async with forwarding(script) as forward:
            with pytest.raises(Unauthorized):
                await forward.create_connection(Inner)
        assert seen == ["t0ken"]

    async def test_a_token_file_that_has_rotated(self, key_pair: KeyPair, tmp_path: Path) -> None:
        """With the client itself: what the second answer says shows which token it was for."""
        (tmp_path / "token").write_text("old")
        async with serving(server_side(key_pair)) as stub:
            stub.script(
                "GET /api/v1/namespaces/shop/pods/shadow-1/portforward",
                refusing(401, "Unauthorized"),
                refusing(404, 'pods "shadow-1" not found'),
            )
            api = await Api.load(kubeconfig(tmp_path, stub.url, {"tokenFile": "token"}, INSECURE))
            await api.endpoint()  # reads the token
            (tmp_path / "token").write_text("new")
            with pytest.raises(NotFound):
                await PortForward(api, "shop", "shadow-1", PORT).create_connection(Inner)
            assert [asked.headers["Authorization"] for asked in stub.asked] == ["Bearer old", "Bearer new"]
            await api.close()


GREETINGS: dict[str, tuple[bytes, type[KtpyError], str]] = {
    "no HTTP": (b"SSH-2.0-OpenSSH_10.0\r\n\r\n", ApiUnreachable, "is no API server"),
    "a head without end": (b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 20000, ApiUnreachable, "is no API server"),
    "nothing": (b"", ApiUnreachable, "closed the connection"),
    "an upgrade without proof": (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n",
        ApiRefused,
        "did not open",
    ),
}


@pytest.mark.parametrize("name", GREETINGS)
async def test_not_an_api_server(name: str) -> None:
    greeting, error, message = GREETINGS[name]

    async def script(api: ApiServer) -> None:
        await api.request()
        api.send(greeting)

    async with forwarding(script) as forward:
        with pytest.raises(error, match=message):
            await forward.create_connection(Inner)


async def test_another_subprotocol_is_refused() -> None:
    async with forwarding(lambda api: api.upgrade(subprotocol="v5.channel.k8s.io")) as forward:
        with pytest.raises(ApiRefused, match="did not open"):
            await forward.create_connection(Inner)


@pytest.fixture
def connects_at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test gives little time is not the connection, which a busy machine may need longer for."""
    connect = ApiEndpoint.connect
    monkeypatch.setattr(ApiEndpoint, "connect", lambda endpoint, made, **_: connect(endpoint, made))


@pytest.mark.usefixtures("connects_at_leisure")
async def test_silence_is_given_up() -> None:
    async def script(api: ApiServer) -> None:
        await api.request()
        await api.reader.read()

    async with forwarding(script, timeout_s=0.05) as forward:
        with pytest.raises(PortForwardNotYet, match=r"within 0\.05 s"):
            await forward.create_connection(Inner)


# --- ends


REFUSED_IN_POD = b"error forwarding port 2222 to pod ab, uid : dial tcp4 127.0.0.1:2222: connect: connection refused"
ENDINGS: dict[str, tuple[bytes, type[KtpyError], str]] = {
    "nobody listens": (frame(2, ERROR + REFUSED_IN_POD), PortForwardNotYet, "connection refused"),
    "error in fragments": (
        frame(2, ERROR + b"connection", final=False) + frame(0, b" refused"),
        PortForwardNotYet,
        "connection refused",
    ),
    "error text without end": (frame(2, ERROR + b"x" * 100_000), PortForwardNotYet, "xxx"),
    "closed before any data": (b"", PortForwardNotYet, "does not answer yet"),
    "a reset in the pod": (
        frame(2, DATA + b"x") + frame(2, ERROR + b"lost connection to pod"),
        LinkLost,
        "lost connection to pod",
    ),
    "close frame": (frame(2, DATA + b"x") + frame(8, b"\x03\xe9bye"), LinkLost, "bye"),
    "close frame without reason": (frame(2, DATA + b"x") + frame(8, b"\x03\xe9"), LinkLost, "1001"),
    "connection closed": (frame(2, DATA + b"x"), LinkLost, "connection was closed"),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_ending(name: str) -> None:
    behind, error, message = ENDINGS[name]
    async with forwarding(lambda api: api.upgrade(PREAMBLE + behind)) as forward:
        transport, inner = await forward.create_connection(Inner)
        lost = await inner.end()
        assert type(lost) is error
        assert message in str(lost)
        assert len(str(lost)) < 20_000
        assert transport.is_closing()
        transport.write(b"ignored")


async def test_a_server_that_closes_its_half_only_ends_it() -> None:
    """A proxy that restarts does so: it would take our bytes for ever, and never say a word."""

    async def script(api: ApiServer) -> None:
        await api.upgrade(PREAMBLE + frame(2, DATA + b"hello"))
        api.writer.write_eof()
        await api.reader.read()

    async with forwarding(script) as forward:
        _, inner = await forward.create_connection(Inner)
        assert isinstance(await inner.end(), LinkLost)


async def test_garbage_ends_it() -> None:
    async def script(api: ApiServer) -> None:
        await api.upgrade()
        await api.frame()
        api.send(b"\xff" * 20)
        await api.reader.read()

    async with forwarding(script) as forward:
        transport, inner = await forward.create_connection(Inner)
        transport.write(b"x")
        lost = await inner.end()
        assert type(lost) is LinkLost
        assert "does not keep to the protocol" in str(lost)


FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"


@pytest.mark.usefixtures("connects_at_leisure")
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize(
    ("head", "error"),
    [(FORBIDDEN, ApiRefused), (FORBIDDEN.replace(b"403", b"503"), PortForwardNotYet)],
)
async def test_a_refusal_without_an_end_is_one(head: bytes, error: type[KtpyError], ends: bool) -> None:
    """It says no all the same: another dial would hear it again, and again, until the pod's time is up."""
    asked = 0

    async def script(api: ApiServer) -> None:
        nonlocal asked
        asked += 1
        await api.request()
        api.send(head + b'{"kind": "Sta')
        if not ends:
            await api.reader.read()

    async with forwarding(script, timeout_s=0.3) as forward:
        with pytest.raises(error):
            await forward.create_connection(Inner)
    assert asked == 1


async def test_a_refusal_in_the_middle_of_the_opening_ends_it() -> None:
    """An intermediary that lets the upgrade pass, and answers itself then."""
    async with forwarding(lambda api: api.upgrade(FORBIDDEN)) as forward:
        with pytest.raises(LinkLost, match="does not keep to the protocol"):
            await forward.create_connection(Inner)


async def test_endless_refusal_is_cut_off() -> None:
    async def script(api: ApiServer) -> None:
        await api.request()
        api.send(b"HTTP/1.1 500 No\r\nContent-Length: 100000000\r\n\r\n" + b"x" * (1 << 20))
        await api.reader.read()

    async with forwarding(script) as forward:
        with pytest.raises(PortForwardNotYet) as raised:
            await forward.create_connection(Inner)
        assert len(raised.value.message) < 20_000


# --- flow control


async def test_writer_is_paused_by_a_server_that_does_not_read() -> None:
    read_on = asyncio.Event()
    total = 0

    async def script(api: ApiServer) -> None:
        nonlocal total
        await api.upgrade(PREAMBLE + frame(2, DATA + b"x"))
        await read_on.wait()
        while total < sent:
            total += len((await api.frame())[1]) - 1

    sent = 0
    async with forwarding(script) as forward:
        transport, inner = await forward.create_connection(Inner)
        while not inner.paused.is_set():
            transport.write(bytes(FRAME_BYTES))
            sent += FRAME_BYTES
            assert sent < 64 << 20, "never paused"
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() < 1 << 20
        read_on.set()
        async with asyncio.timeout(5):
            await inner.resumed.wait()
        await inner.end()
    assert total == sent


async def test_reader_that_pauses_stops_the_server() -> None:
    chunk = frame(2, DATA + bytes(60_000))
    unsent_bytes = 0

    async def script(api: ApiServer) -> None:
        nonlocal unsent_bytes
        await api.upgrade()
        transport = cast(asyncio.Transport, api.writer.transport)
        for _ in range(400):  # 24 MB, more than the kernel's buffers hold
            api.send(chunk)
        unsent_bytes = transport.get_write_buffer_size()
        paused.set()
        await api.writer.drain()

    paused = asyncio.Event()
    async with forwarding(script) as forward:
        transport, inner = await forward.create_connection(Inner)
        transport.pause_reading()
        assert not transport.is_reading()
        await paused.wait()
        assert unsent_bytes > 0
        held = len(inner.received)
        await asyncio.sleep(0.05)
        assert len(inner.received) - held <= 1 << 20
        transport.resume_reading()
        await inner.read(400 * 60_000)
        assert isinstance(await inner.end(), LinkLost)


# --- what stands before the API server


async def test_what_refuses_the_port_forward_again_and_again_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "NOT_FORWARDED_PAUSE_S", 0.0)
    asked = 0

    async def script(api: ApiServer) -> None:
        nonlocal asked
        asked += 1
        await api.request()
        api.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\nno such host")

    async with forwarding(script) as forward:
        with pytest.raises(NotForwarded, match="Something before the API server") as raised:
            await forward.create_connection(Inner)
    assert not raised.value.is_transient
    assert asked == 2 * (port_forward.NOT_FORWARDED_RETRIES + 1)  # each time WebSocket, then SPDY


@pytest.mark.parametrize("status_line", ["400 Bad Request", "403 Forbidden", "404 Not Found", "426 Upgrade Required"])
async def test_spdy_where_something_keeps_websocket_off(status_line: str) -> None:
    """A front that knows nothing but SPDY, which kubectl falls back to as well; the next connection asks at once."""
    heads: list[str] = []

    async def script(api: ApiServer) -> None:
        heads.append(await api.request())
        if "\r\nUpgrade: SPDY/3.1\r\n" not in api.head:
            api.send(f"HTTP/1.1 {status_line}\r\nContent-Length: 2\r\n\r\nno".encode())
            return
        assert "\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n" in api.head
        api.send(SPDY_SWITCHING)
        opening = SpdyFraming(PORT).opening()
        assert await api.reader.readexactly(len(opening)) == opening
        api.send(struct.pack(">HHII", 0x8003, 2, 4, 3) + struct.pack(">II", 3, 7) + b"SSH-2.0")
        assert await api.reader.readexactly(13) == struct.pack(">II", 3, 5) + b"hello"
        assert await api.reader.read() == b""  # no WebSocket goodbye

    async with forwarding(script) as forward:
        for _ in range(2):
            transport, inner = await forward.create_connection(Inner)
            assert await inner.read(7) == b"SSH-2.0"
            transport.write(b"hello")
            transport.close()
            assert await inner.end() is None
    assert [head.partition(" ")[0] for head in heads] == ["GET", "POST", "POST"]


async def test_what_the_api_server_says_to_spdy_counts() -> None:
    async def script(api: ApiServer) -> None:
        if (await api.request()).startswith("GET "):
            api.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            return
        code, body = status(403, 'pods "shadow-1" is forbidden: User "al" cannot create resource "pods/portforward"')
        api.send(f"HTTP/1.1 {code} No\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async with forwarding(script) as forward:
        with pytest.raises(Forbidden, match="may not create pods/portforward"):
            await forward.create_connection(Inner)


@pytest.mark.parametrize("path", ["", "/k8s/clusters/c1"])
async def test_a_front_that_wants_the_host_as_the_url_has_it(
    path: str, key_pair: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port 443 of api.test is a TLS proxy on loopback that knows `Host: api.test` and no other, as HAProxy may."""
    (tmp_path / "pem").write_bytes(key_pair.key + key_pair.certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "pem")

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        api = ApiServer(reader, writer)
        if "\r\nHost: api.test\r\n" not in await api.request():
            api.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif "portforward" in api.head:
            api.send(api.switching() + PREAMBLE + frame(2, DATA + b"hello"))
            await reader.read()
        else:
            api.send(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + b'{"major":"1"}')
        writer.close()

    server = await asyncio.start_server(front, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]

    async def getaddrinfo(host: str, wanted: int | None, **_: object) -> list[object]:
        assert (host, wanted) == ("api.test", 443)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    authority = base64.b64encode(key_pair.certificate).decode()
    config = kubeconfig(tmp_path, f"https://api.test{path}", cluster={"certificate-authority-data": authority})
    api = await Api.load(config)
    async with server:
        assert await api.request("GET", "/version") == {"major": "1"}
        transport, inner = await PortForward(api, "shop", "shadow-1", PORT).create_connection(Inner)
        assert await inner.read(5) == b"hello"
        transport.abort()
        await inner.end()
        await api.close()


# --- the event loop that ktpy runs on


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("by_proxy", [False, True], ids=["direct", "by proxy"])
def test_on_uvloop(is_tls: bool, by_proxy: bool, key_pair: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "pem").write_bytes(key_pair.key + key_pair.certificate)
    there, here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    there.load_cert_chain(tmp_path / "pem")
    here.load_verify_locations(tmp_path / "pem")

    async def api_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        api = ApiServer(reader, writer)
        await api.upgrade(PREAMBLE + frame(2, DATA + b"hello"))
        assert await api.frame() == (0x82, DATA + b"hi")
        api.send(frame(2, DATA + b" again"))
        await writer.drain()
        await reader.read()
        writer.close()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host, _, port = head.split()[1].decode().partition(":")
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    async def there_and_back() -> None:
        servers = [
            await asyncio.start_server(api_server, "127.0.0.1", 0, ssl=there if is_tls else None),
            await asyncio.start_server(proxy, "127.0.0.1", 0),
        ]
        api_port, proxy_port = (server.sockets[0].getsockname()[1] for server in servers)
        proxy_url = f"http://127.0.0.1:{proxy_port}" if by_proxy else None
        endpoint = ApiEndpoint("127.0.0.1", api_port, here if is_tls else None, proxy=proxy_url)
        forward = PortForward(Reached(endpoint, []), "shop", "shadow-1", PORT)
        transport, inner = await forward.create_connection(Inner)
        assert await inner.read(5) == b"hello"
        transport.write(b"hi")
        assert await inner.read(11) == b"hello again"
        forward.close()
        assert await inner.end() is None
        for server in servers:
            server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(there_and_back(), 10))
