"""This module decides who answers: the zone, the cluster's DNS, or the machine's previous resolvers."""

import asyncio
import dataclasses
from typing import Final

from ktpy.dns.encoding import UndecodableError, encode, encode_joined, question
from ktpy.dns.forward import Forwarder, NoAnswerError
from ktpy.dns.message import (
    CLASS_IN,
    TCP_LARGEST_BYTES,
    EncodedReply,
    FormatError,
    Query,
    failure,
    fitted,
    parse_query,
    rcode_of,
    render,
)
from ktpy.dns.records import Elsewhere, Rcode, RRType, ZoneAnswer
from ktpy.dns.zone import Zone

ANSWER_WITHIN_S: Final = 4.8  # glibc waits 5 s for a name server
ENCODED_MAX: Final = 4096
_ANSWER_COUNT: Final = slice(6, 8)


@dataclasses.dataclass(slots=True)
class QueryCounters:
    """QueryCounters count queries by who decided them, since the start."""

    zone: int = 0
    cluster: int = 0
    upstream: int = 0
    refused: int = 0
    failed: int = 0  # those of the first three that ended as SERVFAIL for want of an answer
    malformed: int = 0


class SplitResolver:
    """A SplitResolver answers each query from the zone, or forwards it to whoever knows the name.

    Without `upstream`, outside names are refused: glibc and musl then ask the next name server, if there is one.
    Without `cluster`, or when it does not answer, names that only it can decide fail (SERVFAIL); NXDOMAIN
    would deny a name that may exist.
    """

    def __init__(self, zone: Zone, *, upstream: Forwarder | None = None, cluster: Forwarder | None = None) -> None:
        self.counters = QueryCounters()
        self.zone = zone
        self.upstream = upstream
        self.cluster = cluster
        self._encoded: dict[bytes, EncodedReply] = {}
        self._encoded_generation = 0
        self._turn = 0

    def answer_now(self, data: bytes, *, over_tcp: bool) -> bytes | Query:
        """Return the reply to a packet (b"" for none) when this machine knows it; else the query for `answer`."""
        try:
            query = parse_query(data)
        except FormatError as exc:
            self.counters.malformed += 1
            return exc.reply or b""
        if query.edns_version:
            return self._refusal(query, Rcode.BADVERS)
        if self._encoded_generation != self.zone.generation:
            self._encoded.clear()
            self._encoded_generation = self.zone.generation
        reply = self._encoded.get(query.question)
        if reply is None:
            if query.qclass != CLASS_IN or query.qtype in (RRType.AXFR, RRType.IXFR):
                return self._refusal(query, Rcode.REFUSED)
            found = self.zone.lookup(query.qname, query.qtype)
            if isinstance(found, Elsewhere):
                return self._kept(query, found, over_tcp) or query
            if found.unfinished is not None:
                return query
            reply = self._encode(query, found)
        self.counters.zone += 1
        self._turn += 1
        return render(query, reply, _limit_bytes(query, over_tcp), self._turn)

    async def answer(self, query: Query, *, over_tcp: bool) -> bytes:
        """Return the reply to a query that another server decides."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                found = self.zone.lookup(query.qname, query.qtype)
                if isinstance(found, Elsewhere):
                    return await self._forward(query, found, over_tcp)
                self.counters.zone += 1
                if found.unfinished is None:  # the zone has learned it in the meantime
                    return render(query, self._encode(query, found), _limit_bytes(query, over_tcp))
                return await self._finish(query, found, found.unfinished, over_tcp)
        except (NoAnswerError, UndecodableError, TimeoutError):
            self.counters.failed += 1
            return failure(query, Rcode.SERVFAIL)

    def _encode(self, query: Query, answer: ZoneAnswer) -> EncodedReply:
        reply = encode(query, answer)
        if len(self._encoded) >= ENCODED_MAX:
            self._encoded.clear()
        self._encoded[query.question] = reply
        return reply

    def _kept(self, query: Query, where: Elsewhere, over_tcp: bool) -> bytes | None:
        forwarder = self._forwarder(where)
        if forwarder is None or (reply := forwarder.cached(query)) is None:
            return None
        self._count(where)
        return fitted(query, reply, _limit_bytes(query, over_tcp))

    async def _forward(self, query: Query, where: Elsewhere, over_tcp: bool) -> bytes:
        forwarder = self._forwarder(where)
        if forwarder is None:
            if where is Elsewhere.NOT_OURS:
                return self._refusal(query, Rcode.REFUSED)
            raise NoAnswerError("the cluster's DNS is not known")
        self._count(where)
        reply = await forwarder.ask(query, over_tcp=over_tcp)
        return fitted(query, reply, _limit_bytes(query, over_tcp))

    async def _finish(self, query: Query, answer: ZoneAnswer, target: str, over_tcp: bool) -> bytes:
        """Resolve the end of a CNAME chain that leaves the zone, so that getaddrinfo gets its address.

        An outside target is first asked of the machine's resolvers, whose addresses are the ones this machine can
        reach, and then of the cluster's DNS, which may know names that nobody outside the cluster does.
        """
        onward = question(target, query.qtype)
        inside = self.zone.lookup(target, query.qtype) is Elsewhere.ASK_CLUSTER
        best = None
        for forwarder in (self.cluster,) if inside else (self.upstream, self.cluster):
            if forwarder is None:
                continue
            try:
                reply = await forwarder.ask(onward, over_tcp=True)
            except NoAnswerError:
                continue
            if rcode_of(reply) == Rcode.NOERROR and any(reply[_ANSWER_COUNT]):
                best = reply
                break
            if best is None and rcode_of(reply) in (Rcode.NOERROR, Rcode.NXDOMAIN):
                best = reply
        if best is None:
            raise NoAnswerError("nobody resolves the target of an ExternalName")
        return render(query, encode_joined(query, answer, best), _limit_bytes(query, over_tcp))

    def _forwarder(self, where: Elsewhere) -> Forwarder | None:
        return self.upstream if where is Elsewhere.NOT_OURS else self.cluster

    def _count(self, where: Elsewhere) -> None:
        if where is Elsewhere.NOT_OURS:
            self.counters.upstream += 1
        else:
            self.counters.cluster += 1

    def _refusal(self, query: Query, rcode: Rcode) -> bytes:
        self.counters.refused += 1
        return failure(query, rcode)


def _limit_bytes(query: Query, over_tcp: bool) -> int:
    return TCP_LARGEST_BYTES if over_tcp else query.udp_limit_bytes
