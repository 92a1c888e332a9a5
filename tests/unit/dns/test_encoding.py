import pytest

from ktpy.dns.encoding import UndecodableError, addresses_in, encode, encode_joined, question
from ktpy.dns.message import render
from ktpy.dns.records import Rcode, ResourceRecord, RRType, Soa, Srv, ZoneAnswer
from tests.unit.dns.name_servers import asked, denying, parsed, reply

ALIAS = ZoneAnswer(
    Rcode.NOERROR, (ResourceRecord("out.example", RRType.CNAME, 5, "db.example.com"),), unfinished="db.example.com"
)


@pytest.mark.parametrize(
    ("rtype", "data", "shown"),
    [
        ("A", b"\x0a\x60\x00\x07", "10.96.0.7"),
        ("AAAA", b"\xfd\x96" + bytes(13) + b"\x07", "fd96::7"),
        ("CNAME", "db.example.com", "db.example.com."),
        ("PTR", "web.example", "web.example."),
        ("TXT", "1.1.0", '"1.1.0"'),
        ("SRV", Srv(0, 50, 80, "web.example"), "0 50 80 web.example."),
        ("SOA", Soa("ns.example", "mail.example", 1, 2, 3, 4, 5), "ns.example. mail.example. 1 2 3 4 5"),
    ],
)
def test_every_type_of_record_the_zone_makes(rtype: str, data: bytes | str | Srv | Soa, shown: str) -> None:
    query = asked("name.example", rtype)
    record = ResourceRecord("name.example", RRType[rtype], 5, data)
    [found] = parsed(render(query, encode(query, ZoneAnswer(Rcode.NOERROR, (record,))), 512)).rr
    assert str(found.rdata) == shown
    assert found.ttl == 5


def test_a_negative_answer() -> None:
    query = asked("gone.example")
    soa = ResourceRecord("example", RRType.SOA, 5, Soa("ns.example", "mail.example", 1, 2, 3, 4, 5))
    answer = parsed(render(query, encode(query, ZoneAnswer(Rcode.NXDOMAIN, authority=(soa,))), 512))
    assert answer.header.rcode == Rcode.NXDOMAIN
    assert str(answer.auth[0].rname) == "example."


def test_hundreds_of_srv_targets_stay_readable() -> None:
    """Beyond 16 KB no compression pointer reaches; the addresses are left out then."""
    query = asked("_pg._tcp.db.example", "SRV")
    names = [f"pod-number-{index}.db.example" for index in range(500)]
    answer = ZoneAnswer(
        Rcode.NOERROR,
        tuple(ResourceRecord("_pg._tcp.db.example", RRType.SRV, 5, Srv(0, 1, 5432, name)) for name in names),
        additional=tuple(ResourceRecord(name, RRType.A, 5, bytes([10, 0, 0, 1])) for name in names),
    )
    found = parsed(render(query, encode(query, answer), 65535))
    assert [str(rr.rdata.target) for rr in found.rr] == [f"{name}." for name in names]
    assert found.ar == []


def test_an_alias_joined_with_what_resolves_it() -> None:
    query = asked("OUT.example")
    rest = reply(parsed(question("db.example.com", 1).data), "db.example.com 60 A 192.0.2.1")
    answer = parsed(render(query, encode_joined(query, ALIAS, rest), 512))
    assert [(str(rr.rname), str(rr.rdata)) for rr in answer.rr] == [
        ("OUT.example.", "db.example.com."),
        ("db.example.com.", "192.0.2.1"),
    ]


def test_an_alias_to_a_name_that_does_not_exist() -> None:
    query = asked("out.example")
    rest = denying()(parsed(question("db.example.com", 1).data))
    assert rest is not None
    answer = parsed(render(query, encode_joined(query, ALIAS, rest), 512))
    assert answer.header.rcode == Rcode.NXDOMAIN
    assert len(answer.rr) == len(answer.auth) == 1


@pytest.mark.parametrize(
    "rest", [b"", b"\x00" * 7 + b"\x01" + b"\x00" * 4 + b"\xff", b"\x00\x00\x80\x00\x00\x01\x00\x01" + b"\x00" * 4]
)
def test_a_reply_that_cannot_be_read(rest: bytes) -> None:
    with pytest.raises(UndecodableError):
        encode_joined(asked("out.example"), ALIAS, rest)


def test_a_question_of_our_own_asks_for_recursion() -> None:
    query = question("db.example.com", RRType.AAAA)
    assert query.qname == "db.example.com"
    assert parsed(query.data).header.rd == 1


def test_the_addresses_in_a_reply() -> None:
    records = ("a.example 60 CNAME b.example", "b.example 60 A 10.9.8.7", "b.example 60 AAAA fd00::7")
    found = addresses_in(reply(parsed(asked("a.example").data), *records))
    assert list(map(str, found)) == ["10.9.8.7", "fd00::7"]
    with pytest.raises(UndecodableError):
        addresses_in(b"no DNS")
