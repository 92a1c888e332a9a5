"""Which protocol it is by the first byte, what is refused, and clients that are slow, lie, or leave."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ktpy.capture.proxy import server
from ktpy.capture.proxy.http_proxy import HEAD_TIMEOUT_S
from ktpy.capture.proxy.server import ProxyServer
from tests.kit.waiting import until
from tests.unit.capture.proxy.running import Client, port_of, proxying

FAILED5, FAILED4 = b"\x00\x01" + bytes(6), b"\x00\x5b" + bytes(6)


def socks5(host: str, port: int) -> bytes:
    return b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big")


def socks4a(host: str, port: int) -> bytes:
    return b"\x04\x01" + port.to_bytes(2, "big") + b"\0\0\0\1\0" + host.encode() + b"\0"


@pytest.fixture
async def proxy() -> AsyncIterator[ProxyServer]:
    async with proxying() as proxy:
        yield proxy


class Upper:
    """A server that answers in capitals when the client has ended, as only a half-closed connection can."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write((await reader.read()).upper())
            self.ends.put_nowait("end")
        except ConnectionResetError:
            self.ends.put_nowait("reset")
        writer.close()


@pytest.fixture
async def upper() -> AsyncIterator[Upper]:
    upper = Upper()
    async with await asyncio.start_server(upper.serve, "127.0.0.1", 0) as listening:
        upper.port = listening.sockets[0].getsockname()[1]
        yield upper


@pytest.mark.parametrize("way", ["socks5", "socks4a", "connect"])
async def test_a_half_closed_stream_stays_half_closed(proxy: ProxyServer, upper: Upper, way: str) -> None:
    """Also where the client says all at once, and ends before it is answered."""
    request, granted = {
        "socks5": (socks5("web", upper.port), b"\x05\x00\x05\x00\x00\x01" + bytes(6)),
        "socks4a": (socks4a("web", upper.port), b"\x00\x5a" + bytes(6)),
        "connect": (
            f"CONNECT web:{upper.port} HTTP/1.1\r\nHost: web\r\n\r\n".encode(),
            b"HTTP/1.1 200 Connection established\r\n\r\n",
        ),
    }[way]
    async with Client.of(proxy) as client:
        client.writer.write(request + b"first ")
        client.writer.write(b"second")
        client.writer.write_eof()
        assert await client.reader.read() == granted + b"FIRST SECOND"
    assert await upper.ends.get() == "end"
    assert (proxy.traffic.sent_bytes, proxy.traffic.received_bytes) == (len(request) + 12, 12)


async def test_a_client_that_breaks_off_breaks_the_far_end_off(proxy: ProxyServer, upper: Upper) -> None:
    async with Client.of(proxy) as client:
        await client.ask(socks5("web", upper.port), 12)
        client.writer.transport.abort()
        assert await upper.ends.get() in ("reset", "end")
    await until(lambda: proxy.open_flows == 0)


@pytest.mark.parametrize(
    ("host", "code"),
    [("10.244.0.1", 5), ("10.244.0.2", 4), ("10.244.0.3", 3), ("10.244.0.4", 4), ("10.244.0.5", 1), ("absent", 4)],
)
async def test_socks_says_why_not(proxy: ProxyServer, host: str, code: int) -> None:
    async with Client.of(proxy) as client:
        assert await client.ask(socks5(host, 80)) == b"\x05\x00\x05" + bytes([code, 0, 1]) + bytes(6)
    async with Client.of(proxy) as client:
        assert await client.ask(socks4a(host, 80)) == FAILED4
    assert proxy.dialler.counters.failed == 2


@pytest.mark.parametrize(
    ("host", "status", "words"),
    [
        ("10.244.0.1", 502, "refused the connection: nothing listens on that port, from the cluster"),
        ("10.244.0.2", 502, "nobody has that address"),
        ("10.244.0.3", 502, "no route to its network"),
        ("10.244.0.4", 504, "does not answer"),
        ("10.244.0.5", 502, "(the tunnel is gone)"),
        ("absent", 502, "There is no absent, neither in the cluster nor outside."),
    ],
)
@pytest.mark.parametrize("request_", ["CONNECT {host}:80", "GET http://{host}/"])
async def test_http_says_why_not(proxy: ProxyServer, request_: str, host: str, status: int, words: str) -> None:
    async with Client.of(proxy) as client:
        client.writer.write(f"{request_.format(host=host)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        told, body = await client.answer()
        assert told == status
        assert words in body.decode()
        client.writer.write(b"GET /proxy.pac HTTP/1.1\r\nHost: x\r\n\r\n")  # the connection lives on
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02\x00", b"\x00\x00", b"\x03\x01"])
async def test_what_is_no_protocol_of_ours_is_closed(proxy: ProxyServer, said: bytes) -> None:
    async with Client.of(proxy) as client:
        assert await client.ask(said) == b""
    assert proxy.counters.malformed == 1


async def test_udp_associate_is_answered_honestly(proxy: ProxyServer) -> None:
    async with Client.of(proxy) as client:
        assert await client.ask(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6)) == b"\x05\x00\x05\x07\x00\x01" + bytes(6)


@pytest.mark.parametrize(
    "said", [b"", b"\x05", b"\x05\xff\x00", b"\x05\x01\x00\x05\x01\x00\x03\xffweb", b"\x04\x01\x00\x50\x0a", b"GET "]
)
async def test_a_client_that_says_less_than_it_announces_is_let_go(proxy: ProxyServer, said: bytes) -> None:
    began_s = asyncio.get_running_loop().time()
    async with Client.of(proxy) as client:
        answer = await client.ask(said)
        assert asyncio.get_running_loop().time() - began_s >= HEAD_TIMEOUT_S
    assert not answer or answer == b"\x05\x00" or answer.startswith(b"HTTP/1.1 408 ")
    await until(lambda: proxy.open_flows == 0)


async def test_a_client_that_leaves_while_it_is_connected_leaves_nothing(proxy: ProxyServer) -> None:
    dialled, given_up = asyncio.Event(), asyncio.Event()

    async def dial(*_: object) -> None:
        dialled.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    proxy.dialler.from_pod = dial  # type: ignore[assignment]
    async with Client.of(proxy) as client:
        client.writer.write(socks5("web", 80))
        await dialled.wait()
    await given_up.wait()
    await until(lambda: proxy.open_flows == 0)


async def test_other_users_are_closed_at_once(proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "owner_of", lambda *_: 4_000_000_000)
    async with Client.of(proxy) as client:
        with pytest.raises(ConnectionResetError):
            await client.reader.read()
    assert (proxy.counters.foreign, proxy.open_flows) == (1, 0)


@pytest.mark.parametrize("answer", [None, OSError("no sock_diag")])
async def test_who_cannot_be_told_is_another_user(
    proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch, answer: OSError | None
) -> None:
    def owner_of(*_: object) -> None:
        if answer:
            raise answer

    monkeypatch.setattr(server, "owner_of", owner_of)
    async with Client.of(proxy) as client:
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


async def test_the_end_resets_what_is_open_and_frees_the_port(upper: Upper) -> None:
    async with proxying() as proxy:
        port = port_of(proxy)
        async with Client.of(proxy) as client, Client.of(proxy) as waiting:
            await client.ask(socks5("web", upper.port), 12)
            await waiting.ask(b"\x05\x01\x00", 2)
            await proxy.aclose()
            for one in (client, waiting):
                with pytest.raises(ConnectionResetError):
                    await one.reader.read()
        assert await upper.ends.get() == "reset"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_what_is_counted(proxy: ProxyServer, upper: Upper) -> None:
    for request in (socks5("web", upper.port), socks4a("web", upper.port)):
        async with Client.of(proxy) as client:
            client.writer.write(request)
            client.writer.write_eof()
            await client.reader.read()
    read = proxy.counter_readers()["proxy"]()
    assert {name: number for name, number in read.items() if number} == {"socks5": 1, "socks4": 1, "cluster": 2}
