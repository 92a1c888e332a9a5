"""Opening connections: plain, TLS, and through proxies, against real servers on loopback."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ktpy.errors import ApiUnreachable, KtpyError, Unauthorized
from ktpy.kube.endpoint import ApiEndpoint, connection_failure

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.made = False
        self.received = b""
        self.answered: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert not self.made
        self.made = True

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.answered.done():
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of `api.test`, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("api.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "api.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def client_tls(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    writer.close()


class Proxy:
    """An HTTP proxy that knows CONNECT only, and wants a password."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.request = b""
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = await reader.readuntil(b"\r\n\r\n")
        port = int(self.request.split()[1].rpartition(b":")[2])
        writer.write(self.answer)
        if b" 200 " not in self.answer:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)


async def echoed(endpoint: ApiEndpoint) -> None:
    transport, client = await endpoint.connect(Client, timeout_s=5)
    transport.write(b"hello")
    async with asyncio.timeout(5):
        await client.answered
    assert client.received == b"hello"
    assert client.made
    transport.abort()


async def test_plain() -> None:
    async with listening(echo) as port:
        await echoed(ApiEndpoint("127.0.0.1", port))


async def test_tls_with_another_name(certificate: Path) -> None:
    async with listening(echo, server_tls(certificate)) as port:
        await echoed(ApiEndpoint("127.0.0.1", port, client_tls(certificate), server_hostname="api.test"))


async def test_certificate_that_is_not_trusted(certificate: Path) -> None:
    async with listening(echo, server_tls(certificate)) as port:
        with pytest.raises(ApiUnreachable, match="not trusted"):
            await ApiEndpoint("127.0.0.1", port, ssl.create_default_context()).connect(Client)


async def test_certificate_of_another_name(certificate: Path) -> None:
    async with listening(echo, server_tls(certificate)) as port:
        with pytest.raises(ApiUnreachable, match="not trusted"):
            await ApiEndpoint("127.0.0.1", port, client_tls(certificate)).connect(Client)


async def test_verdict_on_the_client_certificate(certificate: Path) -> None:
    """With TLS 1.3 it comes as an alert after the handshake. A blocking server sends it; asyncio's does not."""
    tls = server_tls(certificate)
    tls.verify_mode = ssl.CERT_REQUIRED

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            tls.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        endpoint = ApiEndpoint(
            "127.0.0.1", listener.getsockname()[1], client_tls(certificate), server_hostname="api.test"
        )
        _, client = await endpoint.connect(Client)
        verdict = connection_failure(endpoint, await client.lost)
        await serving
    assert isinstance(verdict, Unauthorized)
    assert "certificate required" in verdict.message


async def test_nobody_listens(unused_port: int) -> None:
    with pytest.raises(ApiUnreachable, match=f"127.0.0.1:{unused_port} cannot be reached"):
        await ApiEndpoint("127.0.0.1", unused_port).connect(Client)


async def test_a_way_that_becomes_free_is_found_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first packets are lost, and the kernel repeats them later and later."""
    loop = asyncio.get_running_loop()
    began_s, connect, tried_at_s = loop.time(), loop.sock_connect, list[float]()

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        tried_at_s.append(loop.time() - began_s)
        if len(tried_at_s) < 4:
            await loop.create_future()
        await connect(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with listening(echo) as port:
        await echoed(ApiEndpoint("127.0.0.1", port))
    assert tried_at_s == [pytest.approx(second, abs=0.2) for second in range(4)]


async def test_silent_server_is_given_up(certificate: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with listening(silent) as port:
        with pytest.raises(ApiUnreachable, match=r"within 0\.05 s"):
            await ApiEndpoint("127.0.0.1", port, client_tls(certificate)).connect(Client, timeout_s=0.05)


@pytest.mark.parametrize("secure_proxy", [False, True], ids=["http", "https"])
async def test_through_a_proxy(certificate: Path, secure_proxy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy()
    if secure_proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with (
        listening(echo, server_tls(certificate)) as port,
        listening(proxy.serve, server_tls(certificate) if secure_proxy else None) as proxy_port,
    ):
        host = "127.0.0.1"
        if secure_proxy:  # its certificate must fit the name, and only api.test does
            host = "api.test"
            resolve_to_loopback(monkeypatch)
        url = f"http{'s' * secure_proxy}://al%40ice:s%3Acret@{host}:{proxy_port}"
        await echoed(ApiEndpoint("127.0.0.1", port, client_tls(certificate), server_hostname="api.test", proxy=url))
    head = proxy.request.decode()
    assert head.startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'al@ice:s:cret').decode()}\r\n" in head


async def test_plain_through_a_proxy() -> None:
    proxy = Proxy()
    async with listening(echo) as port, listening(proxy.serve) as proxy_port:
        await echoed(ApiEndpoint("127.0.0.1", port, proxy=f"http://127.0.0.1:{proxy_port}"))
    assert b"Proxy-Authorization" not in proxy.request


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication Required"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"", "closed the connection"),
    ],
)
async def test_proxy_that_refuses(answer: bytes, message: str) -> None:
    async with listening(Proxy(answer).serve) as proxy_port:
        with pytest.raises(ApiUnreachable, match=message):
            await ApiEndpoint("127.0.0.1", 1, proxy=f"http://u:secret@127.0.0.1:{proxy_port}").connect(Client)


async def test_proxy_that_is_not_there(unused_port: int) -> None:
    with pytest.raises(ApiUnreachable, match="proxy") as raised:
        await ApiEndpoint("127.0.0.1", 1, proxy=f"http://u:secret@127.0.0.1:{unused_port}").connect(Client)
    assert "secret" not in raised.value.message


async def test_another_scheme_is_refused_with_the_reason() -> None:
    with pytest.raises(KtpyError, match=r"socks4://127\.0\.0\.1:1080") as raised:
        await ApiEndpoint("10.0.0.1", 443, proxy="socks4://u:secret@127.0.0.1:1080").connect(Client)
    assert "secret" not in raised.value.message


def test_repr_shows_no_secret() -> None:
    shown = repr(ApiEndpoint("h", 1, headers=[("Authorization", "Bearer t0ken")], proxy="http://u:pw@p"))
    assert "t0ken" not in shown
    assert "pw" not in shown


def test_authority_of_ipv6() -> None:
    assert ApiEndpoint("fd00::1", 6443).authority == "[fd00::1]:6443"


@pytest.fixture
def unused_port() -> int:
    """A loopback port that refuses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def resolve_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name is 127.0.0.1 for the running loop."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
