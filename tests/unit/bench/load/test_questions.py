"""DNS packets of the load generator, read by a library that knows them."""

from dnslib import QTYPE, RR, A, DNSRecord

from tests.bench.load.questions import is_good, question


def test_a_question_is_what_it_says() -> None:
    record = DNSRecord.parse(question(4711, "web.shop.svc.cluster.local."))
    assert (record.header.id, record.header.rd, str(record.q.qname), QTYPE[record.q.qtype]) == (
        4711,
        1,
        "web.shop.svc.cluster.local.",
        "A",
    )


def test_an_answer_with_an_address_is_good() -> None:
    reply = DNSRecord.parse(question(1, "web.shop")).reply()
    reply.add_answer(RR("web.shop", QTYPE.A, rdata=A("192.0.2.1")))
    assert is_good(bytes(reply.pack()))


def test_an_empty_answer_is_not() -> None:
    assert not is_good(bytes(DNSRecord.parse(question(1, "web.shop")).reply().pack()))


def test_a_refusal_is_not() -> None:
    reply = DNSRecord.parse(question(1, "web.shop")).reply()
    reply.add_answer(RR("web.shop", QTYPE.A, rdata=A("192.0.2.1")))
    reply.header.rcode = 3
    assert not is_good(bytes(reply.pack()))
