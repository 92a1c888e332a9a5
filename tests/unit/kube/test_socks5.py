"""SOCKS5 against a proxy on loopback, for requests and for raw connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ktpy.errors import ApiUnreachable, KtpyError
from ktpy.kube.client import Api
from ktpy.kube.endpoint import ApiEndpoint
from ktpy.kube.objects import Json
from ktpy.kube.refusals import NeverSent
from tests.unit.kube import api_stub
from tests.unit.kube.api_stub import Answer, ApiStub
from tests.unit.kube.certificates import KeyPair


class Socks:
    """A SOCKS5 proxy that resolves every name to loopback, and may want a login."""

    def __init__(self) -> None:
        self.port = 0
        self.login = b""
        self.refusal = 0
        self.asked: list[tuple[bytes, int]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        method = 2 if self.login else 0
        writer.write(bytes((5, method if method in methods else 0xFF)))
        if method == 2 and method in methods:
            sent = await reader.readexactly(len(self.login))
            writer.write(bytes((1, int(sent != self.login))))
        _, _, _, kind = await reader.readexactly(4)
        length = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        host, port = await reader.readexactly(length), int.from_bytes(await reader.readexactly(2))
        self.asked.append((host, port))
        writer.write(bytes((5, self.refusal, 0, 1)) + bytes(6))
        if self.refusal:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))


@pytest.fixture
async def socks() -> AsyncIterator[Socks]:
    socks = Socks()
    server = await asyncio.start_server(socks.serve, "127.0.0.1", 0)
    socks.port = server.sockets[0].getsockname()[1]
    yield socks
    server.close()


@pytest.fixture
async def secure_stub(key_pair: KeyPair) -> AsyncIterator[ApiStub]:
    async with api_stub.serving(api_stub.server_side(key_pair)) as stub:
        stub.script("GET /version", Answer({"major": "1"}))
        yield stub


@pytest.mark.parametrize("by_environment", [False, True], ids=["proxy-url", "HTTPS_PROXY"])
async def test_requests_and_raw_connections(
    socks: Socks, secure_stub: ApiStub, tmp_path: Path, by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's name resolves at the proxy only; the certificate is verified by it."""
    port = int(secure_stub.url.rpartition(":")[2])
    url = f"socks5://127.0.0.1:{socks.port}"
    cluster: Json = dict(api_stub.INSECURE)
    if by_environment:
        monkeypatch.setenv("HTTPS_PROXY", url)
    else:
        cluster |= {"proxy-url": url}
    api = await Api.load(api_stub.kubeconfig(tmp_path, f"https://api.test:{port}", {"token": "t"}, cluster))
    assert await api.request("GET", "/version") == {"major": "1"}
    assert secure_stub.asked[0].headers["Host"] == f"api.test:{port}"
    transport, _ = await (await api.endpoint()).connect(asyncio.Protocol)
    transport.abort()
    await api.close()
    assert socks.asked == [(b"api.test", port)] * 2


async def test_user_and_password(socks: Socks, secure_stub: ApiStub) -> None:
    socks.login = b"\x01\x02al\x04p:ss"
    port = int(secure_stub.url.rpartition(":")[2])
    endpoint = ApiEndpoint("127.0.0.1", port, proxy=f"socks5://al:p%3Ass@127.0.0.1:{socks.port}")
    transport, _ = await endpoint.connect(asyncio.Protocol)
    transport.abort()
    assert socks.asked == [(b"\x7f\x00\x00\x01", port)]


@pytest.mark.parametrize(
    ("user", "message"), [("al:wrong@", "does not accept this user"), ("", "wants a user and a password in its URL")]
)
async def test_a_login_that_the_proxy_does_not_accept(socks: Socks, user: str, message: str) -> None:
    socks.login = b"\x01\x02al\x05right"
    with pytest.raises(ApiUnreachable, match=message) as raised:
        await ApiEndpoint("api.test", 1, proxy=f"socks5://{user}127.0.0.1:{socks.port}").connect(asyncio.Protocol)
    assert "wrong" not in raised.value.message


async def test_a_refusal(socks: Socks, tmp_path: Path) -> None:
    socks.refusal = 5
    cluster = {"proxy-url": f"socks5://127.0.0.1:{socks.port}"}
    api = await Api.load(api_stub.kubeconfig(tmp_path, "https://api.test:6443", cluster=cluster))
    with pytest.raises(NeverSent, match=r"through to api.test:6443: connection refused"):
        await api.request("GET", "/version")
    await api.close()


async def test_what_speaks_no_socks(stub: ApiStub) -> None:
    proxy = stub.url.replace("http:", "socks5:")
    with pytest.raises(ApiUnreachable, match="The proxy"):
        await ApiEndpoint("api.test", 1, proxy=proxy).connect(asyncio.Protocol, timeout_s=5)


async def test_another_scheme_is_named_for_requests_too(tmp_path: Path) -> None:
    cluster = {"proxy-url": "socks4://127.0.0.1:1"}
    api = await Api.load(api_stub.kubeconfig(tmp_path, "https://api.test:6443", cluster=cluster))
    with pytest.raises(KtpyError, match=r"socks4://127\.0\.0\.1:1: it speaks to http://, https:// and socks5://"):
        await api.request("GET", "/version")
    await api.close()
