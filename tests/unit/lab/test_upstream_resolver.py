"""What the upstream resolver says."""

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from tests.lab.upstream_resolver import reply_to


def ask(name: str, kind: str, transport: str = "udp", edns_bytes: int | None = None) -> DNSRecord:
    query = DNSRecord.question(name, kind)
    if edns_bytes is not None:
        from dnslib import EDNS0

        query.add_ar(EDNS0(udp_len=edns_bytes))
    reply = reply_to(query.pack(), transport)
    assert reply is not None
    return DNSRecord.parse(reply)


@pytest.mark.parametrize(("kind", "data"), [("A", "192.0.2.10"), ("AAAA", "2001:db8::10")])
def test_addresses(kind: str, data: str) -> None:
    assert [str(record.rdata) for record in ask("outside.example", kind).rr] == [data]


def test_an_alias_comes_with_what_it_stands_for() -> None:
    assert [QTYPE[record.rtype] for record in ask("www.outside.example", "A").rr] == ["CNAME", "A"]


def test_an_absent_name_is_nxdomain_with_the_zones_soa() -> None:
    reply = ask("absent.example", "A")
    assert (reply.header.rcode, [QTYPE[record.rtype] for record in reply.auth]) == (RCODE.NXDOMAIN, ["SOA"])


def test_an_absent_type_is_nodata_with_the_zones_soa() -> None:
    reply = ask("v4only.outside.example", "AAAA")
    assert (reply.header.rcode, reply.rr) == (RCODE.NOERROR, [])
    assert [QTYPE[record.rtype] for record in reply.auth] == ["SOA"]


@pytest.mark.parametrize("edns_bytes", [None, 1232])
def test_a_large_answer_is_cut_short_by_udp(edns_bytes: int | None) -> None:
    reply = ask("large.outside.example", "TXT", edns_bytes=edns_bytes)
    assert (reply.header.tc, reply.rr) == (1, [])
    assert str(reply.q.qname) == "large.outside.example."  # resolvers drop a reply to another question, or to none


def test_a_large_answer_is_whole_by_tcp() -> None:
    reply = ask("large.outside.example", "TXT", transport="tcp")
    assert (reply.header.tc, len(reply.rr)) == (0, 1)


def test_edns_is_answered_with_edns() -> None:
    assert [record.rtype for record in ask("outside.example", "A", edns_bytes=1232).ar] == [QTYPE.OPT]


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 40])
def test_what_is_no_question_gets_no_answer(data: bytes) -> None:
    assert reply_to(data, "udp") is None
