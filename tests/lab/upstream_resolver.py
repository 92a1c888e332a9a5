"""The DNS server that the laptop and CoreDNS ask about the world outside: a small one, with a world of its own.

It answers on the node's side of the link, so that a cut link cuts it off, as a laptop's real resolver would be.
Every question is a line of its log: tests read there who asked what.

usage: python -m tests.lab.upstream_resolver NAME
"""

import asyncio
import os
import socket
import struct
import sys
from typing import Any, cast

from dnslib import AAAA, CNAME, EDNS0, PTR, QTYPE, RCODE, RR, SOA, TXT, A, DNSError, DNSRecord

from tests.lab import cgroup, namespaces
from tests.lab.layout import RESOLVER_IPV4, RESOLVER_IPV6, Layout
from tests.lab.processes import ProcessRecord

READY = "upstream resolver answers"
PORT = 53
TTL_S = 60
PLAIN_UDP_BYTES = 512  # RFC 1035, 4.2.1: without EDNS
EDNS_UDP_BYTES = 1232
IDLE_S = 10.0

SEARCH_DOMAIN = "corp.example"
LARGE_TEXT_BYTES = 4000  # no UDP answer holds it: the client must come back by TCP


def _large_text() -> list[bytes]:
    return [bytes(f"{number:03d}", "ascii") * 80 for number in range(LARGE_TEXT_BYTES // 240)]


ZONE: dict[str, list[tuple[int, Any]]] = {
    "outside.example.": [
        (QTYPE.A, A("192.0.2.10")),
        (QTYPE.AAAA, AAAA("2001:db8::10")),
        (QTYPE.TXT, TXT("from the upstream resolver")),
    ],
    "www.outside.example.": [(QTYPE.CNAME, CNAME("outside.example."))],
    "v4only.outside.example.": [(QTYPE.A, A("192.0.2.11"))],
    "large.outside.example.": [(QTYPE.TXT, TXT(_large_text()))],
    f"printer.{SEARCH_DOMAIN}.": [(QTYPE.A, A("192.0.2.20"))],
    "10.2.0.192.in-addr.arpa.": [(QTYPE.PTR, PTR("outside.example."))],
}
AUTHORITY = RR("example.", QTYPE.SOA, ttl=TTL_S, rdata=SOA("ns.example.", "admin.example.", (1, 60, 60, 60, 60)))


def answer(query: DNSRecord) -> DNSRecord:
    """The reply to one question: records, NODATA or NXDOMAIN (RFC 2308: both with the zone's SOA)."""
    reply = query.reply()
    reply.header.ra = 1
    if any(record.rtype == QTYPE.OPT for record in query.ar):
        reply.add_ar(EDNS0(udp_len=EDNS_UDP_BYTES))  # RFC 6891, 6.1.1: EDNS is answered with EDNS
    name = str(query.q.qname).lower()
    for _ in range(8):  # the longest alias chain followed
        records = ZONE.get(name, [])
        alias = next((data for kind, data in records if kind == QTYPE.CNAME), None)
        for kind, data in records:
            if kind == query.q.qtype or (kind == QTYPE.CNAME and alias is not None):
                reply.add_answer(RR(name, kind, ttl=TTL_S, rdata=data))
        if alias is None or query.q.qtype == QTYPE.CNAME:
            break
        name = str(alias.label).lower()
    if name not in ZONE:
        reply.header.rcode = RCODE.NXDOMAIN
    if not reply.rr or name not in ZONE:
        reply.add_auth(AUTHORITY)
    return reply


def datagram_limit(query: DNSRecord) -> int:
    """How large a UDP answer this client takes (EDNS: RFC 6891, the OPT record's class)."""
    sizes = [int(record.rclass) for record in query.ar if record.rtype == QTYPE.OPT]
    return max(PLAIN_UDP_BYTES, *sizes) if sizes else PLAIN_UDP_BYTES


def truncated(reply: DNSRecord) -> DNSRecord:
    """The reply without its records, but with its question: clients take no other (dnslib's own leaves it out)."""
    reply.rr, reply.auth = [], []
    reply.header.tc = 1
    return reply


def reply_to(data: bytes, transport: str) -> bytes | None:
    """The wire form of the answer; None when the question is no DNS."""
    try:
        query = DNSRecord.parse(data)
    except DNSError:
        return None
    if not query.questions:
        return None
    print(f"{transport} {query.q.qname} {QTYPE[query.q.qtype]}", file=sys.stderr, flush=True)
    reply = answer(query)
    packed = bytes(reply.pack())
    if transport == "udp" and len(packed) > datagram_limit(query):
        return bytes(truncated(reply).pack())
    return packed


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # which Python 3.11's own is not a subclass of

    def datagram_received(self, data: bytes, address: Any) -> None:
        reply = reply_to(data, "udp")
        if reply is not None:
            self._transport.sendto(reply, address)


async def _serve_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            async with asyncio.timeout(IDLE_S):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                data = await reader.readexactly(length)
            reply = reply_to(data, "tcp")
            if reply is None:
                break
            writer.write(struct.pack("!H", len(reply)) + reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        pass  # the client has gone
    finally:
        writer.close()


async def serve(addresses: list[str], port: int) -> None:
    """Answer on every address, by UDP and TCP, until cancelled."""
    loop = asyncio.get_running_loop()
    for address in addresses:
        await loop.create_datagram_endpoint(_Datagrams, local_addr=(address, port))
    server = await asyncio.start_server(_serve_stream, addresses, port)
    async with server:
        print(READY, flush=True)
        await server.serve_forever()


def main(name: str) -> None:
    layout = Layout(name)
    cgroup.ControlGroups.read(layout.cgroups_file).join("laptop")
    namespaces.setns(layout.node_netns_path)
    ProcessRecord.of(os.getpid()).write(layout.run_dir / "upstream-resolver")
    addresses = [RESOLVER_IPV4, *([RESOLVER_IPV6] if socket.has_ipv6 else [])]
    asyncio.run(serve(addresses, PORT))


if __name__ == "__main__":
    main(sys.argv[1])
