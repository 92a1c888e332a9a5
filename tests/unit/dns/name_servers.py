"""Small name servers on loopback, real sockets and dnslib, that behave as a test tells them to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import dnslib

from ktpy.dns.message import Query, parse_query

Behaviour = Callable[[Any], "bytes | None"]
"""From a parsed query to the reply's bytes; None: silence."""


def asked(name: str, qtype: str = "A", *, edns_bytes: int | None = None, ident: int = 4711) -> Query:
    """A query as a stub resolver sends it."""
    record: Any = dnslib.DNSRecord(
        dnslib.DNSHeader(id=ident, rd=1), q=dnslib.DNSQuestion(name, dnslib.QTYPE.reverse[qtype])
    )
    if edns_bytes is not None:
        record.add_ar(dnslib.EDNS0(udp_len=edns_bytes))
    return parse_query(bytes(record.pack()))


def parsed(message: bytes) -> Any:
    return dnslib.DNSRecord.parse(message)


def addresses(message: bytes) -> list[str]:
    return [str(rr.rdata) for rr in parsed(message).rr]


def reply(query: Any, *zone_lines: str, rcode: str = "NOERROR", authority: str = "") -> bytes:
    answer: Any = query.reply(ra=1, aa=0)
    answer.header.rcode = dnslib.RCODE.reverse[rcode]
    for line in zone_lines:
        answer.add_answer(*dnslib.RR.fromZone(line))
    if authority:
        answer.add_auth(*dnslib.RR.fromZone(authority))
    return bytes(answer.pack())


def answering(address: str, ttl_s: int = 60) -> Behaviour:
    return lambda query: reply(query, f"{query.q.qname} {ttl_s} A {address}")


def failing(rcode: str) -> Behaviour:
    return lambda query: reply(query, rcode=rcode)


def denying(minimum_s: int = 30) -> Behaviour:
    soa = f"example. 3600 SOA ns.example. mail.example. 1 2 3 4 {minimum_s}"
    return lambda query: reply(query, rcode="NXDOMAIN", authority=soa)


def truncating(query: Any) -> bytes:
    answer: Any = query.reply(ra=1, aa=0)
    answer.header.tc = 1
    return bytes(answer.pack())


def silent(_query: Any) -> None:
    return None


class NameServer(asyncio.DatagramProtocol):
    """Answers UDP and TCP on one port."""

    def __init__(self, udp: Behaviour, tcp: Behaviour | None = None) -> None:
        self.udp = udp
        self.tcp = tcp or udp
        self.packets: list[bytes] = []  # over UDP
        self.streamed: list[bytes] = []  # over TCP
        self.clients: dict[Any, None] = {}
        self.connections: list[asyncio.StreamWriter] = []
        self.address = ("127.0.0.1", 0)
        self._transport: asyncio.DatagramTransport | None = None
        self._heard = asyncio.Event()

    async def has_heard(self, *, packets: int = 0, streamed: int = 0) -> None:
        """Wait until that many messages have come."""
        async with asyncio.timeout(10):
            while len(self.packets) < packets or len(self.streamed) < streamed:
                self._heard.clear()
                await self._heard.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def send(self, message: bytes | None) -> None:
        """Answer the client that asked last, now."""
        assert self._transport is not None
        assert message is not None
        self._transport.sendto(message, next(reversed(self.clients)))

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.packets.append(data)
        self._heard.set()
        self.clients[addr] = None
        answer = self.udp(parsed(data))
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)

    async def serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                message = await reader.readexactly(length)
                self.streamed.append(message)
                self._heard.set()
                answer = self.tcp(parsed(message))
                if answer is not None:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()


@contextlib.asynccontextmanager
async def name_server(
    udp: Behaviour, tcp: Behaviour | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[NameServer]:
    server = NameServer(udp, tcp)
    listener, transport = await _bound(server, host, port)
    server.address = listener.sockets[0].getsockname()
    try:
        yield server
    finally:
        transport.close()
        listener.close()
        for writer in server.connections:
            writer.close()


async def _bound(server: NameServer, host: str, port: int) -> tuple[asyncio.Server, asyncio.BaseTransport]:
    """A TCP and a UDP socket on one port; without a given one, on any that is free for both."""
    while True:
        listener = await asyncio.start_server(server.serve_stream, host, port)
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: server, local_addr=listener.sockets[0].getsockname()
            )
        except OSError:
            listener.close()
            if port:
                raise
        else:
            return listener, transport
