import random
import struct

import dnslib
import pytest

from ktpy.dns.encoding import encode
from ktpy.dns.message import (
    UDP_LARGEST_BYTES,
    EncodedReply,
    FormatError,
    Query,
    answers_query,
    failure,
    fitted,
    lifetime,
    parse_query,
    readdressed,
    render,
)
from ktpy.dns.records import Rcode, ResourceRecord, RRType, Srv, ZoneAnswer
from tests.unit.dns.name_servers import addresses, answering, asked, denying, parsed, reply, truncating


def packet(name: str = "web.example", qtype: int = 1, **header: int) -> bytes:
    return bytes(dnslib.DNSRecord(dnslib.DNSHeader(id=1, **header), q=dnslib.DNSQuestion(name, qtype)).pack())


# --- reading


def test_a_plain_query() -> None:
    query = parse_query(packet("Web.Example", rd=1))
    assert query.qname == "web.example"
    assert (query.qtype, query.qclass) == (1, 1)
    assert (query.udp_limit_bytes, query.edns_version) == (512, None)


@pytest.mark.parametrize(("offered", "used"), [(100, 512), (1232, 1232), (65535, UDP_LARGEST_BYTES)])
def test_the_reply_fits_what_edns_offers(offered: int, used: int) -> None:
    query = asked("web.example", edns_bytes=offered)
    assert query.udp_limit_bytes == used
    assert query.edns_version == 0
    assert not query.has_edns_options


def test_edns_options_are_seen() -> None:
    record = dnslib.DNSRecord.question("web.example")
    record.add_ar(dnslib.EDNS0(opts=[dnslib.EDNSOption(10, b"cookie!!")]))
    assert parse_query(bytes(record.pack())).has_edns_options


def test_a_dot_within_a_label_is_no_separator() -> None:
    data = packet("x.example").replace(b"\x01x\x07example", b"\x03a.b\x05examp")
    assert parse_query(data).qname == "a\\046b.examp"


def test_the_type_is_not_mistaken_for_letters() -> None:
    # Type 65 (HTTPS) is an "A" on the wire: lowering its case would make it type 97.
    assert parse_query(packet(qtype=65)).question.endswith(b"\x00\x41\x00\x01")


@pytest.mark.parametrize("data", [b"", b"\x00" * 11, packet(qr=1)])
def test_what_gets_no_reply_at_all(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_query(data)
    assert caught.value.reply is None


LONG_NAME = (b"\x3f" + b"a" * 63) * 4 + b"\x00"
HEADER = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        packet()[:7] + b"\x01" + packet()[8:],  # answers in a query
        struct.pack("!6H", 7, 0, 0, 0, 0, 0),
        struct.pack("!6H", 7, 0, 2, 0, 0, 0) + packet()[12:] * 2,
        packet()[:-1],
        packet()[:16],
        HEADER + b"\xc0\x0c\x00\x01\x00\x01",  # a name that points at itself
        HEADER + b"\x41" + b"a" * 65 + b"\x00\x00\x01\x00\x01",
        HEADER + LONG_NAME + b"\x00\x01\x00\x01",
        packet()[:11] + b"\x01" + packet()[12:],  # an additional record that is not there
        packet()[:11] + b"\x02" + packet()[12:] + (b"\x00\x00\x29\x10\x00" + bytes(6)) * 2,
        packet()[:11] + b"\x01" + packet()[12:] + b"\x01x\x00\x00\x29\x10\x00" + bytes(6),
        packet()[:11] + b"\x01" + packet()[12:] + b"\x00\x00\x29\x10\x00" + bytes(4) + b"\xff\xff",
    ],
)
def test_what_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_query(data)
    assert caught.value.reply is not None
    answer = parsed(caught.value.reply)
    assert answer.header.rcode == Rcode.FORMERR
    assert answer.header.id == int.from_bytes(data[:2], "big")


@pytest.mark.parametrize("opcode", [1, 2, 4, 5])
def test_other_opcodes_are_not_implemented(opcode: int) -> None:
    with pytest.raises(FormatError) as caught:
        parse_query(packet(opcode=opcode))
    assert caught.value.reply is not None
    assert parsed(caught.value.reply).header.rcode == Rcode.NOTIMP
    assert parsed(caught.value.reply).header.opcode == opcode


def test_noise_never_raises_anything_else() -> None:
    seeded = random.Random(20240607)
    valid = [packet(), asked("a.b.c.d", "SRV", edns_bytes=1232).data, packet("x" * 63 + ".example")]
    for _ in range(20_000):
        data = bytearray(seeded.choice(valid))
        for _ in range(seeded.randrange(1, 6)):
            data[seeded.randrange(len(data))] = seeded.randrange(256)
        mangled = bytes(data[: seeded.randrange(len(data) + 1)]) + seeded.randbytes(seeded.choice([0, 0, 3]))
        try:
            query = parse_query(mangled)
            assert query.qname is not None
        except FormatError:
            pass


def test_noise_is_no_reply() -> None:
    seeded = random.Random(20240608)
    query = asked("web.example")
    good = answering("192.0.2.1")(parsed(query.data))
    assert good is not None
    for _ in range(20_000):
        data = bytearray(good)
        for _ in range(seeded.randrange(1, 6)):
            data[seeded.randrange(len(data))] = seeded.randrange(256)
        mangled = bytes(data[: seeded.randrange(len(data) + 1)])
        if answers_query(mangled, query.data, query.question):
            lifetime(mangled, query.question)


# --- which reply belongs to which query


def test_a_reply_with_another_case_of_the_name_is_the_reply() -> None:
    query = asked("Web.Example")
    answer = answering("192.0.2.1")(parsed(asked("web.example").data))
    assert answer is not None
    assert answers_query(answer, query.data, query.question)


@pytest.mark.parametrize(
    "other",
    [asked("web.example", ident=1), asked("mail.example"), asked("web.example", "AAAA"), asked("web.example.org")],
)
def test_the_reply_to_something_else_is_not(other: Query) -> None:
    query = asked("web.example")
    answer = answering("192.0.2.1")(parsed(other.data))
    assert answer is not None
    assert not answers_query(answer, query.data, query.question)


def test_a_query_is_no_reply() -> None:
    query = asked("web.example")
    assert not answers_query(query.data, query.data, query.question)


def test_a_refusal_may_lack_the_question_but_a_success_may_not() -> None:
    query = asked("web.example")
    assert answers_query(query.data[:2] + b"\x80\x05" + bytes(8), query.data, query.question)
    assert not answers_query(query.data[:2] + b"\x80\x00" + bytes(8), query.data, query.question)


# --- how long to keep


def kept_for(message: bytes | None, query: Query) -> int | None:
    assert message is not None
    kept = lifetime(message, query.question)
    return None if kept is None else kept[0]


def test_the_shortest_ttl_of_the_answer_counts() -> None:
    query = asked("www.example")
    message = reply(parsed(query.data), "www.example 300 CNAME web.example", "web.example 20 A 192.0.2.1")
    assert kept_for(message, query) == 20


def test_a_negative_answer_lives_as_its_soa_says() -> None:
    query = asked("gone.example")
    assert kept_for(denying(minimum_s=30)(parsed(query.data)), query) == 30
    assert kept_for(denying(minimum_s=100_000)(parsed(query.data)), query) == 300


def test_an_alias_to_nothing_is_negative() -> None:
    query = asked("www.example", "AAAA")
    alias = "www.example 300 CNAME web.example"
    soa = "example. 3600 SOA ns.example. mail.example. 1 2 3 4 7"
    assert kept_for(reply(parsed(query.data), alias, authority=soa), query) == 7
    assert kept_for(reply(parsed(query.data), alias), query) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda query: reply(query, rcode="NXDOMAIN"),
        lambda query: reply(query),
        lambda query: reply(query, rcode="SERVFAIL"),
        lambda query: reply(query, rcode="REFUSED"),
        lambda query: reply(query, "web.example 0 A 192.0.2.1"),
        lambda query: reply(query, f"web.example {2**31} A 192.0.2.1"),
        lambda query: reply(query, "web.example 60 A 192.0.2.1")[:-3],
        truncating,
    ],
    ids=["no soa", "no data, no soa", "servfail", "refused", "ttl 0", "ttl negative", "cut off", "truncated"],
)
def test_what_is_not_kept(make: object) -> None:
    query = asked("web.example")
    assert callable(make)
    assert kept_for(make(parsed(query.data)), query) is None


def test_a_readdressed_reply_has_the_new_id_case_and_age() -> None:
    first, second = asked("web.example", edns_bytes=1232), asked("WEB.example", ident=99)
    message = answering("192.0.2.1", ttl_s=60)(parsed(first.data))
    assert message is not None
    kept = lifetime(message, first.question)
    assert kept is not None
    answer = parsed(readdressed(message, second, kept[1], age_s=25))
    assert answer.header.id == 99
    assert str(answer.q.qname) == "WEB.example."
    assert answer.rr[0].ttl == 35


# --- writing


def encoded(query: Query, *records: ResourceRecord, additional: tuple[ResourceRecord, ...] = ()) -> EncodedReply:
    return encode(query, ZoneAnswer(Rcode.NOERROR, records, additional=additional))


def a_records(count: int) -> list[ResourceRecord]:
    return [
        ResourceRecord("db.example", RRType.A, 5, bytes([10, 0, index // 256, index % 256])) for index in range(count)
    ]


def test_a_rendered_answer_repeats_the_question_as_it_was_asked() -> None:
    query = asked("dB.eXample")
    answer = parsed(render(query, encoded(query, *a_records(1)), 512))
    assert str(answer.q.qname) == "dB.eXample."
    assert str(answer.rr[0].rname) == "dB.eXample."
    assert answer.header.id == query.data[0] << 8 | query.data[1]
    assert (answer.header.aa, answer.header.ra, answer.header.rd, answer.header.tc) == (1, 1, 1, 0)
    assert answer.header.qr == 1


def test_recursion_desired_is_repeated_not_assumed() -> None:
    query = parse_query(packet("db.example", rd=0))
    assert parsed(render(query, encoded(query, *a_records(1)), 512)).header.rd == 0


def test_opt_is_answered_with_opt_and_only_then() -> None:
    plain, edns = asked("db.example"), asked("db.example", edns_bytes=1400)
    answer = encoded(plain, *a_records(1))
    assert parsed(render(plain, answer, 512)).ar == []
    [opt] = parsed(render(edns, answer, 1400)).ar
    assert (opt.rtype, opt.rclass) == (RRType.OPT, 1232)


def test_dnssec_ok_is_repeated() -> None:
    record = dnslib.DNSRecord.question("db.example")
    record.add_ar(dnslib.EDNS0(flags="do"))
    query = parse_query(bytes(record.pack()))
    assert parsed(render(query, encoded(query, *a_records(1)), 512)).ar[0].ttl == 0x8000


def test_what_does_not_fit_is_truncated() -> None:
    query = asked("db.example", edns_bytes=512)
    answer = encoded(query, *a_records(40))
    cut = render(query, answer, 512)
    assert len(cut) <= 512
    assert (parsed(cut).header.tc, len(parsed(cut).rr), len(parsed(cut).ar)) == (1, (512 - 12 - 16 - 11) // 16, 1)
    assert addresses(cut) == [f"10.0.0.{index}" for index in range(len(parsed(cut).rr))]
    whole = parsed(render(query, answer, 4096))
    assert (whole.header.tc, len(whole.rr)) == (0, 40)


def test_the_additional_section_goes_before_anything_is_truncated() -> None:
    query = asked("_pg._tcp.db.example", "SRV")
    srv = [
        ResourceRecord("_pg._tcp.db.example", RRType.SRV, 5, Srv(0, 1, 5432, f"pod-{index}.db.example"))
        for index in range(9)
    ]
    extra = tuple(ResourceRecord(f"pod-{index}.db.example", RRType.A, 5, bytes(4)) for index in range(9))
    answer = parsed(render(query, encoded(query, *srv, additional=extra), 512))
    assert (answer.header.tc, len(answer.rr), answer.ar) == (0, 9, [])


def test_the_first_address_takes_turns() -> None:
    query = asked("db.example")
    answer = encoded(query, *a_records(3))
    orders = [addresses(render(query, answer, 512, turn)) for turn in range(4)]
    assert [order[0] for order in orders] == ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.0"]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


def test_a_failure_has_no_records_and_an_extended_code_where_needed() -> None:
    query = asked("web.example", edns_bytes=1232)
    answer = parsed(failure(query, Rcode.BADVERS))
    assert answer.header.rcode == 0
    assert answer.ar[0].ttl >> 24 == 1
    assert parsed(failure(query, Rcode.SERVFAIL)).header.rcode == Rcode.SERVFAIL


def test_a_forwarded_reply_longer_than_the_client_takes_is_truncated() -> None:
    query = asked("db.example")
    lines = [f"db.example 60 A 10.0.0.{index}" for index in range(40)]
    message = reply(parsed(query.data), *lines)
    assert fitted(query, message, 4096) == message
    cut = fitted(query, message, 512)
    assert (len(cut), parsed(cut).header.tc) == (12 + 16 + 30 * 16, 1)
    assert addresses(cut) == [f"10.0.0.{index}" for index in range(30)]


def test_a_forwarded_reply_that_breaks_off_is_cut_before_that() -> None:
    query = asked("db.example")
    message = reply(parsed(query.data), *(f"db.example 60 A 10.0.0.{index}" for index in range(40)))
    cut = fitted(query, message[: 12 + 16 + 20], 40)
    assert (addresses(cut), parsed(cut).header.tc) == ([], 1)
    assert addresses(fitted(query, message[: 12 + 16 + 20], 47)) == ["10.0.0.0"]


def test_a_record_that_is_longer_than_the_client_takes_is_left_out() -> None:
    query = asked("db.example", "TXT")
    message = reply(parsed(query.data), f'db.example 60 TXT "{"x" * 250}" "{"y" * 250}" "{"z" * 250}"')
    cut = parsed(fitted(query, message, 512))
    assert (cut.header.tc, cut.rr) == (1, [])
