"""This module turns answers into bytes and back with dnslib: the slow path, taken once per name and zone change."""

import secrets
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

import dnslib

from ktpy.dns.message import AA, EncodedReply, Query, parse_query, record_spans
from ktpy.dns.records import ResourceRecord, RRType, Soa, Srv, ZoneAnswer

LABEL_MAX_BYTES: Final = 63
_POINTER_TO_QUESTION: Final = b"\xc0\x0c"
_POINTER_REACH_BYTES: Final = 0x4000  # a compression pointer has 14 bits


class UnencodableError(Exception):
    """A name has a label of more than 63 bytes, which the API server lets pass in an ExternalName."""


class UndecodableError(Exception):
    """dnslib cannot read a reply of another server."""


def encode(query: Query, answer: ZoneAnswer) -> EncodedReply:
    """Encode what the zone says. Raises UnencodableError."""
    sections = (answer.answers, answer.authority, answer.additional)
    return _packed(query, answer.rcode, *(list(map(_dnslib_record, section)) for section in sections))


def encode_joined(query: Query, answer: ZoneAnswer, rest: bytes) -> EncodedReply:
    """Encode an answer whose CNAME chain left the zone, with the reply that resolves its end.

    Raises UndecodableError when that reply is no DNS.
    """
    other = _parsed(rest)
    alias = list(map(_dnslib_record, answer.answers))
    return _packed(query, other.header.rcode, alias + other.rr, other.auth, [])


def addresses_in(reply: bytes) -> list[IPv4Address | IPv6Address]:
    """Return the addresses that a reply answers with. Raises UndecodableError."""
    found = (rr for rr in _parsed(reply).rr if rr.rtype in (RRType.A, RRType.AAAA))
    return [ip_address(bytes(rr.rdata.data)) for rr in found]


def _parsed(reply: bytes) -> Any:
    try:
        return dnslib.DNSRecord.parse(reply)
    except (dnslib.DNSError, ValueError, IndexError) as exc:
        raise UndecodableError("a reply is not valid DNS") from exc


def wire_name(name: str) -> bytes:
    """Return a name as on the wire, its capitals kept."""
    return b"".join(bytes([len(label)]) + label for label in name.encode().split(b".")) + b"\0"


def question(name: str, qtype: int) -> Query:
    """Make a query for a name, with a random id and recursion desired. Raises UnencodableError."""
    header = dnslib.DNSHeader(id=secrets.randbits(16), rd=1)
    return parse_query(bytes(dnslib.DNSRecord(header, q=dnslib.DNSQuestion(_label(name), qtype)).pack()))


def _packed(query: Query, rcode: int, answers: list[Any], authority: list[Any], additional: list[Any]) -> EncodedReply:
    asked = dnslib.DNSQuestion(dnslib.DNSLabel(query.labels), query.qtype)
    header = dnslib.DNSHeader(id=0, bitmap=0)
    record = dnslib.DNSRecord(header, questions=[asked], rr=answers, auth=authority, ar=additional)
    message = bytes(record.pack())
    if len(message) >= _POINTER_REACH_BYTES and additional:
        # dnslib would point further back than a pointer can; hundreds of SRV targets come without addresses.
        return _packed(query, rcode, answers, authority, [])
    counts = (len(answers), len(authority), len(additional))
    # The question is the client's own later on; it has the same length, so every compression pointer holds.
    ends = [query.question_end] * 3
    parts = []
    free_order = True
    for span in record_spans(message, query.question_end, counts):
        for section in range(span.section, 3):
            ends[section] = span.end
        if span.section == 0:
            parts.append(message[span.start : span.end])
            owned_by_question = message[span.start : span.start + 2] == _POINTER_TO_QUESTION
            free_order = free_order and owned_by_question and span.rtype in (RRType.A, RRType.AAAA)
    return EncodedReply(
        flags=AA | rcode,
        counts=counts,
        answers=tuple(parts) if free_order else (b"".join(parts),),
        authority=message[ends[0] : ends[1]],
        additional=message[ends[1] : ends[2]],
    )


def _dnslib_record(record: ResourceRecord) -> Any:
    return dnslib.RR(_label(record.name), record.rtype, ttl=record.ttl_s, rdata=_rdata(record))


def _rdata(record: ResourceRecord) -> Any:
    match record.data:
        case bytes() as address:
            return dnslib.A(tuple(address)) if len(address) == 4 else dnslib.AAAA(tuple(address))
        case Srv() as srv:
            return dnslib.SRV(*srv[:3], target=_label(srv.target))
        case Soa() as soa:
            return dnslib.SOA(_label(soa.primary), _label(soa.mailbox), tuple(soa[2:]))
        case text if record.rtype == RRType.TXT:
            return dnslib.TXT(text)
        case name:
            return {RRType.CNAME: dnslib.CNAME, RRType.PTR: dnslib.PTR}[RRType(record.rtype)](_label(str(name)))


def _label(name: str) -> Any:
    if any(len(label) > LABEL_MAX_BYTES for label in name.encode().split(b".")):
        raise UnencodableError(f"{name} has a label of more than {LABEL_MAX_BYTES} bytes")
    # As bytes: given text, dnslib would run each name through IDNA, which costs more than all the rest.
    return dnslib.DNSLabel(name.encode())
