"""Reaching the API server, and every way not to: real sockets, TLS and a real CONNECT proxy, all on loopback."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import ApiUnreachable, Unauthorized
from ktpy.kube.client import Api
from tests.unit.kube import api_stub
from tests.unit.kube.api_stub import Answer, ApiStub
from tests.unit.kube.certificates import KeyPair

VERSION = Answer({"major": "1"})


def encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


@pytest.fixture
def server_tls(key_pair: KeyPair) -> ssl.SSLContext:
    return api_stub.server_side(key_pair)


@pytest.fixture
async def tls_stub(server_tls: ssl.SSLContext) -> AsyncIterator[ApiStub]:
    async with api_stub.serving(server_tls) as stub:
        stub.script("GET /version", VERSION)
        yield stub


@asynccontextmanager
async def loaded(tmp_path: Path, server: str, **sections: Any) -> AsyncIterator[Api]:
    api = await Api.load(api_stub.kubeconfig(tmp_path, server, **sections))
    try:
        yield api
    finally:
        await api.close()


async def test_a_ca_in_the_kubeconfig(tls_stub: ApiStub, key_pair: KeyPair, tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": encoded(key_pair.certificate)}
    async with loaded(tmp_path, tls_stub.url, cluster=cluster) as api:
        assert await api.request("GET", "/version") == {"major": "1"}


async def test_a_ca_in_a_file(tls_stub: ApiStub, key_pair: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(key_pair.certificate)
    async with loaded(tmp_path, tls_stub.url, cluster={"certificate-authority": "ca.pem"}) as api:
        assert await api.request("GET", "/version") == {"major": "1"}


async def test_an_unknown_ca(tls_stub: ApiStub, other_key_pair: KeyPair, tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": encoded(other_key_pair.certificate)}
    async with loaded(tmp_path, tls_stub.url, cluster=cluster) as api:
        with pytest.raises(ApiUnreachable, match="not trusted") as raised:
            await api.request("GET", "/version")
    assert "certificate-authority-data" in (raised.value.hint or "")


async def test_insecure_skip_tls_verify(tls_stub: ApiStub, tmp_path: Path) -> None:
    async with loaded(tmp_path, tls_stub.url, cluster={"insecure-skip-tls-verify": True}) as api:
        assert await api.request("GET", "/version") == {"major": "1"}


@pytest.mark.parametrize(("name", "is_trusted"), [("api.test", True), ("other.test", False)])
async def test_tls_server_name(
    tls_stub: ApiStub, key_pair: KeyPair, tmp_path: Path, name: str, is_trusted: bool
) -> None:
    cluster = {"certificate-authority-data": encoded(key_pair.certificate), "tls-server-name": name}
    async with loaded(tmp_path, tls_stub.url, cluster=cluster) as api:
        if is_trusted:
            assert await api.request("GET", "/version") == {"major": "1"}
            return
        with pytest.raises(ApiUnreachable, match="not trusted"):
            await api.request("GET", "/version")


class TestClientCertificate:
    @pytest.fixture
    def server_tls(self, server_tls: ssl.SSLContext, other_key_pair: KeyPair) -> ssl.SSLContext:
        server_tls.verify_mode = ssl.CERT_REQUIRED
        server_tls.load_verify_locations(cadata=other_key_pair.certificate.decode())
        return server_tls

    @pytest.fixture
    def cluster(self, key_pair: KeyPair) -> dict[str, str]:
        return {"certificate-authority-data": encoded(key_pair.certificate)}

    async def test_in_the_kubeconfig(
        self, tls_stub: ApiStub, other_key_pair: KeyPair, cluster: dict[str, str], tmp_path: Path
    ) -> None:
        user = {
            "client-certificate-data": encoded(other_key_pair.certificate),
            "client-key-data": encoded(other_key_pair.key),
        }
        async with loaded(tmp_path, tls_stub.url, user=user, cluster=cluster) as api:
            assert await api.request("GET", "/version") == {"major": "1"}

    async def test_missing(self, tls_stub: ApiStub, cluster: dict[str, str], tmp_path: Path) -> None:
        async with loaded(tmp_path, tls_stub.url, cluster=cluster) as api:
            with pytest.raises((Unauthorized, ApiUnreachable)):
                await api.request("GET", "/version")


class TestProxy:
    @pytest.fixture
    async def proxy(self) -> AsyncIterator["Proxy"]:
        proxy = Proxy()
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.url = url_of(server)
        async with server:
            yield proxy

    async def test_proxy_url(self, tls_stub: ApiStub, key_pair: KeyPair, proxy: "Proxy", tmp_path: Path) -> None:
        cluster = {"certificate-authority-data": encoded(key_pair.certificate), "proxy-url": proxy.url}
        async with loaded(tmp_path, tls_stub.url, cluster=cluster) as api:
            assert await api.request("GET", "/version") == {"major": "1"}
        assert proxy.connected == [tls_stub.url.removeprefix("https://")]

    async def test_connections_are_dropped_at_once_though_the_way_is_dead(
        self, tls_stub: ApiStub, proxy: "Proxy", tmp_path: Path
    ) -> None:
        """Neither TLS nor anything else waits for a last word of the other end."""
        async with loaded(tmp_path, tls_stub.url, cluster=api_stub.INSECURE | {"proxy-url": proxy.url}) as api:
            await api.request("GET", "/version")
            proxy.is_dead = True
            asking = asyncio.create_task(api.request("GET", "/version"))
            await asyncio.sleep(0.001)
            async with asyncio.timeout(1):
                await api.drop_connections()
                with pytest.raises(ApiUnreachable):
                    await asking
            proxy.is_dead = False
            assert await api.request("GET", "/version") == {"major": "1"}

    async def test_a_proxy_that_refuses(self, tls_stub: ApiStub, proxy: "Proxy", tmp_path: Path) -> None:
        proxy.refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
        async with loaded(tmp_path, tls_stub.url, cluster={"proxy-url": proxy.url}) as api:
            with pytest.raises(ApiUnreachable, match=r"proxy .* does not let ktpy through to .*: 407"):
                await api.request("GET", "/version")

    async def test_a_proxy_that_is_not_there(self, tmp_path: Path, closed_port: int) -> None:
        cluster = {"proxy-url": f"http://127.0.0.1:{closed_port}"}
        async with loaded(tmp_path, "https://api.test:6443", cluster=cluster) as api:
            with pytest.raises(ApiUnreachable, match=r"The proxy .* cannot be reached: Connection refused"):
                await api.request("GET", "/version")


def url_of(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()
    return f"http://{host}:{port}"


class Proxy:
    """Enough of an HTTP proxy: CONNECT, and then bytes both ways."""

    def __init__(self) -> None:
        self.url = ""
        self.connected: list[str] = []
        self.refusal = b""
        self.is_dead = False
        """Whether all that is sent through it vanishes."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split()[1].decode()
        if self.refusal:
            writer.write(self.refusal)
            writer.close()
            return
        self.connected.append(target)
        host, _, port = target.rpartition(":")
        onward_reader, onward_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(self._carry(reader, onward_writer), self._carry(onward_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self.is_dead:
                    writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


async def test_nothing_listens(tmp_path: Path, closed_port: int) -> None:
    async with loaded(tmp_path, f"https://127.0.0.1:{closed_port}") as api:
        with pytest.raises(ApiUnreachable, match="Connection refused") as raised:
            await api.request("GET", "/version")
    assert "is the cluster running" in (raised.value.hint or "")


async def test_the_server_speaks_no_tls(stub: ApiStub, tmp_path: Path) -> None:
    async with loaded(tmp_path, stub.url.replace("http:", "https:")) as api:
        with pytest.raises(ApiUnreachable, match="TLS"):
            await api.request("GET", "/version")


async def test_the_server_hangs_up(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server, loaded(tmp_path, url_of(server)) as api:
        with pytest.raises(ApiUnreachable):
            await api.request("GET", "/version")


async def test_passwords_of_netrc_stay_at_home(stub: ApiStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("default login al password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    stub.script("GET /version", VERSION)
    async with loaded(tmp_path, stub.url) as api:
        await api.request("GET", "/version")
    assert "Authorization" not in stub.asked[0].headers


async def test_links_that_die_silently_are_probed(stub: ApiStub, api: Api) -> None:
    stub.script("GET /version", VERSION)
    await api.request("GET", "/version")
    [connection] = api._connections._pool._idle
    connected = connection._transport.get_extra_info("socket")
    assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
