"""This module decides who answers: the zone, the cluster's DNS, or the machine's previous resolvers."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ktpy.dns.encoding import (
    UndecodableError,
    UnencodableError,
    addresses_in,
    encode,
    encode_joined,
    question,
    wire_name,
)
from ktpy.dns.forward import Forwarder, NoAnswerError
from ktpy.dns.message import (
    CLASS_IN,
    HEADER_BYTES,
    RCODE_MASK,
    TCP_LARGEST_BYTES,
    EncodedReply,
    FormatError,
    Query,
    failure,
    fitted,
    parse_query,
    rcode_of,
    render,
    with_addresses,
)
from ktpy.dns.records import Elsewhere, Rcode, RRType, ZoneAnswer
from ktpy.dns.zone import Zone
from ktpy.helper.resolv_conf import marked

ANSWER_WITHIN_S: Final = 4.8  # glibc waits 5 s for a name server
_log = logging.getLogger(__name__)

OUTSIDE_WITHIN_S: Final = 1.0  # who is offline waits for this, with a name that might be the Internet's
ENCODED_MAX: Final = 4096
_ANSWER_COUNT: Final = slice(6, 8)
OnAlias = Callable[[list[IPv4Address | IPv6Address]], Awaitable[None]]


@dataclasses.dataclass(slots=True)
class QueryCounters:
    """QueryCounters count queries by who decided them, since the start."""

    zone: int = 0
    cluster: int = 0
    upstream: int = 0
    refused: int = 0
    failed: int = 0  # those of the first three that ended as SERVFAIL for want of an answer
    malformed: int = 0
    unencodable: int = 0  # of names that lead to one that DNS cannot carry


class SplitResolver:
    """A SplitResolver answers each query from the zone, or forwards it to whoever knows the name.

    Without `upstream`, outside names are refused: glibc and musl then ask the next name server, if there is one.
    Without `cluster`, or when it does not answer, names that only it can decide fail (SERVFAIL); NXDOMAIN
    would deny a name that may exist.

    `search` is what resolvers append to short names. A name with a dot that was appended to (`example.com`, see
    `ktpy.helper.resolv_conf.marked`) is denied where it exists outside, else the Service `example` in a namespace `com`
    would answer for it. `wpad` (web proxy auto-discovery) is denied below each search domain.

    `on_alias` is told where an ExternalName leads, before that is answered.
    """

    def __init__(
        self,
        zone: Zone,
        *,
        upstream: Forwarder | None = None,
        cluster: Forwarder | None = None,
        search: Sequence[str] = (),
        on_alias: OnAlias | None = None,
    ) -> None:
        self._on_alias = on_alias
        self.counters = QueryCounters()
        self.zone = zone
        self.upstream = upstream
        self.cluster = cluster
        self._appended = {wire_name(domain): domain.count(".") + 1 for domain in marked(search)}  # number of labels
        self._suffixes = tuple(self._appended)
        self._denied = frozenset(wire_name(f"wpad.{domain}".lower()) for domain in search)
        self._encoded: dict[bytes, EncodedReply] = {}
        self._encoded_generation = 0
        self._turn = 0
        self._said: set[bytes] = set()  # names as on the wire, said to be unencodable

    def answer_now(self, data: bytes, *, over_tcp: bool) -> bytes | Query:
        """Return the reply to a packet (b"" for none) when this machine knows it; else the query for `answer`."""
        try:
            query = parse_query(data)
        except FormatError as exc:
            self.counters.malformed += 1
            return exc.reply or b""
        if query.edns_version:
            return self._refusal(query, Rcode.BADVERS)
        if query.question[:-4] in self._denied:
            self.counters.refused += 1
            return self._denial(query, over_tcp)
        reply = self._encoded_reply(query)
        if reply is None:
            if query.qclass != CLASS_IN or query.qtype in (RRType.AXFR, RRType.IXFR):
                return self._refusal(query, Rcode.REFUSED)
            found = self.zone.lookup(query.qname, query.qtype)
            if isinstance(found, Elsewhere):
                return (None if self._short_name(query) else self._kept(query, found, over_tcp)) or query
            if found.unfinished is not None:
                return query
            try:
                reply = self._encode(query, found)
            except UnencodableError as exc:
                return self._unencodable(query, exc)
        if not reply.flags & RCODE_MASK and self._short_name(query):
            return query
        self.counters.zone += 1
        self._turn += 1
        return render(query, reply, _limit_bytes(query, over_tcp), self._turn)

    async def answer(self, query: Query, *, over_tcp: bool) -> bytes:
        """Return the reply to a query that another server decides."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                reply = await self._answer(query, over_tcp)
                short = self._short_name(query)
                if short and rcode_of(reply) == Rcode.NOERROR and await self._exists_outside(short, query.qtype):
                    return self._denial(query, over_tcp)
                return reply
        except (NoAnswerError, UndecodableError, TimeoutError):
            self.counters.failed += 1
            return failure(query, Rcode.SERVFAIL)
        except UnencodableError as exc:
            return self._unencodable(query, exc)

    def _unencodable(self, query: Query, why: UnencodableError) -> bytes:
        if query.question[:-4] not in self._said:
            self._said.add(query.question[:-4])
            _log.warning("%s cannot be resolved: %s", query.qname, why)
        self.counters.unencodable += 1
        return failure(query, Rcode.SERVFAIL)

    async def _answer(self, query: Query, over_tcp: bool) -> bytes:
        found = self.zone.lookup(query.qname, query.qtype)
        if isinstance(found, Elsewhere):
            return await self._forward(query, found, over_tcp)
        self.counters.zone += 1
        if found.unfinished is None:  # the zone has learned it in the meantime, or it is a short name
            return render(query, self._encode(query, found), _limit_bytes(query, over_tcp))
        return await self._finish(query, found, found.unfinished, over_tcp)

    def _denial(self, query: Query, over_tcp: bool) -> bytes:
        return render(query, encode(query, self.zone.denial()), _limit_bytes(query, over_tcp))

    def _short_name(self, query: Query) -> str | None:
        """Return the name with a dot to which the query's search domain was appended, if one was."""
        if not query.data.endswith(self._suffixes, HEADER_BYTES, query.question_end - 4):
            return None  # as nearly every query: no more is done for those
        for suffix, labels in self._appended.items():
            if query.spelled_name.endswith(suffix):
                short = b".".join(query.labels[:-labels])
                return short.decode() if b"." in short and short.isascii() else None
        return None

    async def _exists_outside(self, name: str, qtype: int) -> bool:
        """Ask the previous resolvers; while they do not answer, the cluster's name counts."""
        if self.upstream is None:
            return False
        try:
            async with asyncio.timeout(OUTSIDE_WITHIN_S):
                return rcode_of(await self.upstream.ask(question(name, qtype), over_tcp=False)) == Rcode.NOERROR
        except (NoAnswerError, TimeoutError):
            return False

    def _encoded_reply(self, query: Query) -> EncodedReply | None:
        if self._encoded_generation != self.zone.generation:
            self._encoded.clear()
            self._encoded_generation = self.zone.generation
        return self._encoded.get(query.question)

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
        return fitted(query, self._seen_from_here(query, where, reply), _limit_bytes(query, over_tcp))

    async def _forward(self, query: Query, where: Elsewhere, over_tcp: bool) -> bytes:
        forwarder = self._forwarder(where)
        if forwarder is None:
            if where is Elsewhere.NOT_OURS:
                return self._refusal(query, Rcode.REFUSED)
            raise NoAnswerError("the cluster's DNS is not known")
        self._count(where)
        reply = await forwarder.ask(query, over_tcp=over_tcp)
        return fitted(query, self._seen_from_here(query, where, reply), _limit_bytes(query, over_tcp))

    def _seen_from_here(self, query: Query, where: Elsewhere, reply: bytes) -> bytes:
        """Return a reply of the cluster's with what this machine has in place of the cluster's own addresses."""
        if where is Elsewhere.NOT_OURS or not self.zone.stand_ins.count:
            return reply
        return with_addresses(reply, query, self.zone.stand_ins.of)

    async def _finish(self, query: Query, answer: ZoneAnswer, target: str, over_tcp: bool) -> bytes:
        """Resolve the end of a CNAME chain that leaves the zone, so that getaddrinfo gets its address.

        An outside target is first asked of the machine's resolvers, whose addresses are the ones this machine can
        reach, and then of the cluster's DNS, which may know names that nobody outside the cluster does.
        """
        onward = question(target, query.qtype)
        best, where = None, Elsewhere.NOT_OURS
        for forwarder in (self.cluster,) if answer.is_inside else (self.upstream, self.cluster):
            if forwarder is None:
                continue
            try:
                reply = await forwarder.ask(onward, over_tcp=True)
            except NoAnswerError:
                continue
            if rcode_of(reply) == Rcode.NOERROR and any(reply[_ANSWER_COUNT]):
                best = reply
                where = Elsewhere.ASK_CLUSTER if forwarder is self.cluster else Elsewhere.NOT_OURS
                break
            if best is None and rcode_of(reply) in (Rcode.NOERROR, Rcode.NXDOMAIN):
                best = reply
        if best is None:
            raise NoAnswerError("nobody resolves the target of an ExternalName")
        if self._on_alias is not None:
            await self._on_alias(addresses_in(best))
        best = self._seen_from_here(onward, where, best)
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
