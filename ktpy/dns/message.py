"""This module reads queries, renders replies and patches forwarded DNS messages (RFC 1035; EDNS, RFC 6891).

A zone answer is encoded once (`encoding`), kept as an `EncodedReply` and rendered for each query by joining bytes: id
and flags, the client's own question with its case, the kept sections. A forwarded message is never decoded: only its
id, its question's case and its TTLs are written over. All input is bounds-checked; queries raise only `FormatError`.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ktpy.dns.records import Rcode, RRType

HEADER_BYTES: Final = 12
UDP_DEFAULT_BYTES: Final = 512  # what a client without EDNS takes (RFC 1035)
UDP_LARGEST_BYTES: Final = 4096  # clients are on this machine: no fragments to fear
UDP_ADVERTISED_BYTES: Final = 1232  # what clients are told this server takes (DNS flag day 2020)
TCP_LARGEST_BYTES: Final = 65535

CLASS_IN: Final = 1
QR: Final = 0x8000
OPCODE_MASK: Final = 0x7800
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
RCODE_MASK: Final = 0x000F
DNSSEC_OK: Final = 0x8000  # in the flags of the OPT record (RFC 3225)

POSITIVE_TTL_MAX_S: Final = 3600
NEGATIVE_TTL_MAX_S: Final = 300  # RFC 2308 allows hours; a name that appears should be seen sooner

_ADDRESS_BYTES: Final[dict[int, int]] = {RRType.A: 4, RRType.AAAA: 16}
_HEADER: Final = struct.Struct("!6H")
_COUNTS: Final = struct.Struct("!4H")
_TYPE_CLASS: Final = struct.Struct("!HH")
_RECORD: Final = struct.Struct("!HHIH")  # type, class, TTL, length of RDATA
_TTL: Final = struct.Struct("!I")
_OPT: Final = struct.Struct("!BHHBBHH")  # root name, type, size, high bits of the rcode, version, flags, length


class FormatError(Exception):
    """The message is no valid query. `reply` is what to send back; None means nothing."""

    def __init__(self, why: str, reply: bytes | None = None) -> None:
        super().__init__(why)
        self.reply = reply


class Query(NamedTuple):
    """A Query is well-formed, has one question, and holds the bytes it came in. (A dataclass is slower to make.)"""

    data: bytes
    question: bytes  # as on the wire, the name in lower case: the key of every cache
    flags: int
    qtype: int
    qclass: int
    udp_limit_bytes: int
    edns_version: int | None  # None: no EDNS
    edns_flags: int
    has_edns_options: bool

    @property
    def question_end(self) -> int:
        return HEADER_BYTES + len(self.question)

    @property
    def spelled_name(self) -> bytes:
        """Return the name as on the wire, with the client's capitals."""
        return self.data[HEADER_BYTES : self.question_end - 4]

    @property
    def labels(self) -> list[bytes]:
        """Return the labels of the name, in lower case."""
        labels, offset = [], 0
        while length := self.question[offset]:
            labels.append(self.question[offset + 1 : offset + 1 + length])
            offset += length + 1
        return labels

    @property
    def qname(self) -> str:
        """Return the name in lower case; a dot inside a label is written as in a zone file, \\046."""
        return ".".join(label.decode("latin-1").replace(".", "\\046") for label in self.labels)


class EncodedReply(NamedTuple):
    """An EncodedReply holds the encoded sections of an answer, to be rendered for any query with the same question."""

    flags: int  # AA and the response code
    counts: tuple[int, int, int]
    answers: tuple[bytes, ...]  # one part for each record where their order is free, else one for all
    authority: bytes
    additional: bytes


class RecordSpan(NamedTuple):
    """A RecordSpan says where a resource record lies in a message."""

    section: int  # 0 answer, 1 authority, 2 additional
    start: int
    rtype: int
    rclass: int
    ttl_s: int
    ttl_offset: int
    end: int


# --- reading


def parse_query(data: bytes) -> Query:
    """Read a query. Raises FormatError."""
    if len(data) < HEADER_BYTES:
        raise FormatError("shorter than a header")
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if flags & QR:
        raise FormatError("a response")  # to answer one could start an endless exchange between two servers
    if flags & OPCODE_MASK:
        raise FormatError("unsupported opcode", header_only_reply(data, Rcode.NOTIMP))
    if questions != 1 or answers:
        raise FormatError("not one question", header_only_reply(data, Rcode.FORMERR))
    try:
        name_end = _question_name_end(data)
        qtype, qclass = _TYPE_CLASS.unpack_from(data, name_end)
        question = data[HEADER_BYTES:name_end].lower() + data[name_end : name_end + 4]
        opt = _find_opt(data, name_end + 4, (0, authorities, additionals)) if additionals else None
    except (ValueError, IndexError, struct.error) as exc:
        raise FormatError("unreadable", header_only_reply(data, Rcode.FORMERR)) from exc
    if opt is None:
        return Query(data, question, flags, qtype, qclass, UDP_DEFAULT_BYTES, None, 0, False)
    udp_limit_bytes = min(max(opt.rclass, UDP_DEFAULT_BYTES), UDP_LARGEST_BYTES)
    edns_version, has_options = opt.ttl_s >> 16 & 0xFF, opt.end > opt.ttl_offset + 6
    return Query(data, question, flags, qtype, qclass, udp_limit_bytes, edns_version, opt.ttl_s & 0xFFFF, has_options)


def record_spans(data: bytes, offset: int, counts: tuple[int, ...]) -> Iterator[RecordSpan]:
    """Walk the records from `offset` on. Raises ValueError, IndexError or struct.error where the message breaks."""
    for section, count in enumerate(counts):
        for _ in range(count):
            start, offset = offset, _name_end(data, offset)
            rtype, rclass, ttl_s, length = _RECORD.unpack_from(data, offset)
            end = offset + _RECORD.size + length
            if end > len(data):
                raise ValueError("a record reaches past the end")
            yield RecordSpan(section, start, rtype, rclass, ttl_s, offset + 4, end)
            offset = end


def answers_query(reply: bytes, packet: bytes, question: bytes) -> bool:
    """Tell whether `reply` answers `packet`: same id, same question. Anything else is forged, late or garbage."""
    if len(reply) < HEADER_BYTES or reply[:2] != packet[:2] or not reply[2] & (QR >> 8):
        return False
    questions, *rest = _COUNTS.unpack_from(reply, 4)
    if questions == 0:  # some servers refuse without repeating the question
        return rcode_of(reply) not in (Rcode.NOERROR, Rcode.NXDOMAIN) and not any(rest)
    end = HEADER_BYTES + len(question)
    asked = reply[HEADER_BYTES:end]
    return questions == 1 and asked[:-4].lower() == question[:-4] and asked[-4:] == question[-4:]


def rcode_of(message: bytes) -> int:
    return message[3] & RCODE_MASK


def is_truncated(message: bytes) -> bool:
    return bool(message[2] & (TC >> 8))


def lifetime(reply: bytes, question: bytes) -> tuple[int, tuple[int, ...]] | None:
    """Return how long a reply may be cached, in seconds, and the offsets of its TTLs; None when it may not be.

    A negative answer lives as long as its SOA record says, and not at all without one (RFC 2308 section 5).
    """
    rcode = rcode_of(reply)
    if is_truncated(reply) or rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return None
    qtype = int.from_bytes(question[-4:-2], "big")
    ttls, offsets = [POSITIVE_TTL_MAX_S], []
    positive = has_soa = False
    try:
        counts = _COUNTS.unpack_from(reply, 4)
        for span in record_spans(reply, HEADER_BYTES + len(question), counts[1:]):
            if span.rtype == RRType.OPT:
                continue
            offsets.append(span.ttl_offset)
            ttl_s = 0 if span.ttl_s >> 31 else span.ttl_s  # RFC 2181 section 8
            if span.section == 0:
                ttls.append(ttl_s)
                positive = positive or qtype in (span.rtype, RRType.ANY)
            elif span.section == 1 and span.rtype == RRType.SOA:
                has_soa = True
                minimum_s = int.from_bytes(reply[span.end - 4 : span.end], "big")
                ttls.append(min(ttl_s, minimum_s, NEGATIVE_TTL_MAX_S))
    except (ValueError, IndexError, struct.error):
        return None
    if not has_soa and (rcode == Rcode.NXDOMAIN or not positive):
        return None
    return (min(ttls), tuple(offsets)) if min(ttls) > 0 else None


def _find_opt(data: bytes, offset: int, counts: tuple[int, ...]) -> RecordSpan | None:
    found = None
    for span in record_spans(data, offset, counts):
        if span.rtype == RRType.OPT and span.section == 2:
            if found is not None or data[span.start]:
                raise ValueError("a second OPT record, or one with a name (RFC 6891 section 6.1.1)")
            found = span
    return found


def _question_name_end(data: bytes) -> int:
    offset = HEADER_BYTES
    while length := data[offset]:
        if length > 63:
            raise ValueError("a label too long, or a pointer in the question")
        offset += length + 1
    if offset + 1 - HEADER_BYTES > 255:
        raise ValueError("a name of more than 255 bytes")
    return offset + 1


def _name_end(data: bytes, offset: int) -> int:
    while length := data[offset]:
        if length >= 0xC0:
            return offset + 2
        if length > 63:
            raise ValueError("a label of a reserved kind")
        offset += length + 1
    return offset + 1


# --- writing


def render(query: Query, reply: EncodedReply, limit_bytes: int, turn: int = 0) -> bytes:
    """Return the message that answers `query`.

    A message too long for the client loses its additional section first (optional, RFC 2181 section 9), then what
    `fitted` leaves out. `turn` rotates records whose order is free, so that
    a client that always takes the first spreads over the endpoints of a headless service.
    """
    answers = reply.answers
    if len(answers) > 1:
        first = turn % len(answers)
        answers = answers[first:] + answers[:first]
    opt = _opt(query)
    flags = QR | RA | reply.flags | query.flags & (RD | CD)
    question = query.data[HEADER_BYTES : query.question_end]
    body = b"".join((question, *answers, reply.authority))
    room_bytes = limit_bytes - HEADER_BYTES - len(body) - len(opt)
    an, ns, ar = reply.counts
    if len(reply.additional) <= room_bytes:
        head = _COUNTS.pack(1, an, ns, ar + bool(opt))
        body += reply.additional
    else:
        head = _COUNTS.pack(1, an, ns, int(bool(opt)))
    return fitted(query, b"".join((query.data[:2], flags.to_bytes(2, "big"), head, body, opt)), limit_bytes)


def failure(query: Query, rcode: Rcode) -> bytes:
    """Return a reply with a response code and no records."""
    return _without_records(query, QR | RA | query.flags & (RD | CD) | rcode & RCODE_MASK, rcode)


def header_only_reply(data: bytes, rcode: Rcode) -> bytes:
    """Return a refusal of a message whose question cannot be repeated; it keeps opcode and RD (RFC 1035)."""
    flags = QR | RA | int.from_bytes(data[2:4], "big") & (OPCODE_MASK | RD) | rcode
    return data[:2] + flags.to_bytes(2, "big") + bytes(8)


def fitted(query: Query, reply: bytes, limit_bytes: int) -> bytes:
    """Return a reply with as many whole answers as the client takes; with TC if these are not all.

    A client that can asks again over TCP; for one that cannot (musl 1.2.3) some addresses are better than none.
    """
    if len(reply) <= limit_bytes:
        return reply
    flags, opt = int.from_bytes(reply[2:4], "big") | TC, _opt(query)
    count, end = 0, query.question_end
    with contextlib.suppress(ValueError, IndexError, struct.error):  # a forwarded one may be broken
        for span in record_spans(reply, end, _COUNTS.unpack_from(reply, 4)[1:2]):
            if span.end + len(opt) > limit_bytes:
                break
            count, end = count + 1, span.end
    head = flags.to_bytes(2, "big") + _COUNTS.pack(1, count, 0, int(bool(opt)))
    return query.data[:2] + head + query.data[HEADER_BYTES : query.question_end] + reply[query.question_end : end] + opt


def readdressed(reply: bytes, query: Query, ttl_offsets: tuple[int, ...] = (), age_s: int = 0) -> bytes:
    """Return a forwarded reply with the id of `query`, its question's case, and TTLs less the age of the reply."""
    message = bytearray(reply)
    message[:2] = query.data[:2]
    if len(message) >= query.question_end:
        message[HEADER_BYTES : query.question_end] = query.data[HEADER_BYTES : query.question_end]
    for offset in ttl_offsets if age_s else ():
        (ttl_s,) = _TTL.unpack_from(message, offset)
        _TTL.pack_into(message, offset, max(ttl_s - age_s, 0))
    return bytes(message)


def with_addresses(reply: bytes, query: Query, told: Callable[[bytes], bytes]) -> bytes:
    """Return a forwarded reply with what `told` makes of each address, which is of the same family."""
    message = bytearray(reply)
    with contextlib.suppress(ValueError, IndexError, struct.error):  # a forwarded one may be broken
        for span in record_spans(reply, query.question_end, _COUNTS.unpack_from(reply, 4)[1:]):
            start = span.ttl_offset + 6
            if _ADDRESS_BYTES.get(span.rtype) == span.end - start:
                message[start : span.end] = told(reply[start : span.end])
    return bytes(message)


def _without_records(query: Query, flags: int, rcode: int = 0) -> bytes:
    opt = _opt(query, rcode)
    head = _COUNTS.pack(1, 0, 0, int(bool(opt)))
    return query.data[:2] + flags.to_bytes(2, "big") + head + query.data[HEADER_BYTES : query.question_end] + opt


def _opt(query: Query, rcode: int = 0) -> bytes:
    if query.edns_version is None:
        return b""
    return _OPT.pack(0, RRType.OPT, UDP_ADVERTISED_BYTES, rcode >> 4, 0, query.edns_flags & DNSSEC_OK, 0)
