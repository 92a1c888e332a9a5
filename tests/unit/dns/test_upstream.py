"""The previous resolvers, good and bad, as real servers on loopback."""

import asyncio
from typing import Any

import pytest

from ktpy.dns import upstream
from ktpy.dns.forward import NoAnswerError
from ktpy.dns.message import Query, is_truncated, rcode_of
from ktpy.dns.records import Rcode
from ktpy.dns.upstream import Upstream
from tests.unit.dns.name_servers import (
    Behaviour,
    addresses,
    answering,
    asked,
    denying,
    failing,
    name_server,
    parsed,
    reply,
    silent,
    truncating,
)

REFUSING = ("127.0.0.1", 1)  # a closed port


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps, twenty times as fast: uvloop's clock skips nothing."""
    monkeypatch.setattr(upstream, "HEAD_START_S", 0.025)
    monkeypatch.setattr(upstream, "RESEND_AT_S", (0.05, 0.12))
    monkeypatch.setattr(upstream, "GIVE_UP_AT_S", 0.22)


@pytest.fixture
def little_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "HEAD_START_S", 0.05)


async def ask(servers: Upstream, query: Query, *, over_tcp: bool = False) -> bytes:
    return await servers(query.data, query.question, over_tcp=over_tcp)


async def test_a_resolver_answers() -> None:
    async with name_server(answering("192.0.2.1")) as one:
        assert addresses(await ask(Upstream([one.address]), asked("web.example"))) == ["192.0.2.1"]


@pytest.mark.usefixtures("little_head_start")
@pytest.mark.parametrize("bad", [silent, failing("SERVFAIL"), failing("REFUSED"), failing("FORMERR")])
async def test_a_good_answer_goes_before_a_bad_one(bad: Behaviour) -> None:
    async with name_server(bad) as one, name_server(answering("192.0.2.2")) as two:
        assert addresses(await ask(Upstream([one.address, two.address]), asked("web.example"))) == ["192.0.2.2"]


async def test_a_closed_port_is_not_waited_for() -> None:
    async with name_server(answering("192.0.2.2")) as two:
        servers = Upstream([REFUSING, two.address])
        assert addresses(await ask(servers, asked("web.example"))) == ["192.0.2.2"]


async def test_nxdomain_is_a_good_answer() -> None:
    async with name_server(failing("SERVFAIL")) as one, name_server(denying()) as two:
        message = await ask(Upstream([one.address, two.address]), asked("gone.example"))
        assert rcode_of(message) == Rcode.NXDOMAIN


async def test_the_first_listed_decides_even_when_it_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's resolver knows names that a public one denies."""
    monkeypatch.setattr(upstream, "HEAD_START_S", upstream.GIVE_UP_AT_S)
    async with name_server(silent) as one, name_server(denying()) as two:
        task = asyncio.create_task(ask(Upstream([one.address, two.address]), asked("intra.example")))
        await one.has_heard(packets=1)
        await two.has_heard(packets=1)
        one.send(answering("192.0.2.1")(parsed(one.packets[0])))
        assert addresses(await task) == ["192.0.2.1"]


@pytest.mark.usefixtures("little_head_start")
async def test_a_resolver_known_to_be_silent_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with name_server(silent) as one, name_server(answering("192.0.2.2")) as two:
        servers = Upstream([one.address, two.address])
        await ask(servers, asked("a.example"))
        monkeypatch.setattr(upstream, "HEAD_START_S", 30.0)  # waiting for it again would be seen
        await ask(servers, asked("b.example"))
        assert len(one.packets) >= 2  # it is asked all the same


@pytest.mark.usefixtures("little_head_start")
async def test_a_resolver_that_speaks_again_comes_first_again() -> None:
    async with name_server(silent) as one, name_server(answering("192.0.2.2")) as two:
        servers = Upstream([one.address, two.address])
        await ask(servers, asked("a.example"))
        one.udp = answering("192.0.2.1")
        two.udp = silent
        await ask(servers, asked("b.example"))
        two.udp = answering("192.0.2.2")
        assert addresses(await ask(servers, asked("c.example"))) == ["192.0.2.1"]


@pytest.mark.usefixtures("little_head_start")
async def test_silence_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "SILENT_FOR_S", 0.0)
    async with name_server(silent) as one, name_server(answering("192.0.2.2")) as two:
        servers = Upstream([one.address, two.address])
        await ask(servers, asked("a.example"))
        await ask(servers, asked("b.example"))  # finds that it is time
        monkeypatch.setattr(upstream, "HEAD_START_S", upstream.GIVE_UP_AT_S)
        task = asyncio.create_task(ask(servers, asked("c.example")))
        await one.has_heard(packets=3)
        await two.has_heard(packets=3)
        one.send(answering("192.0.2.1")(parsed(one.packets[-1])))
        assert addresses(await task) == ["192.0.2.1"]


async def test_nobody_does_better_than_a_failure() -> None:
    async with name_server(failing("REFUSED")) as one, name_server(failing("SERVFAIL")) as two:
        message = await ask(Upstream([one.address, two.address]), asked("web.example"))
        assert rcode_of(message) == Rcode.REFUSED


@pytest.mark.usefixtures("quick")
async def test_all_silent_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "HEAD_START_S", 0.0)
    monkeypatch.setattr(upstream, "RESEND_AT_S", (0.0, 0.0))  # however busy the machine is, before it is given up
    async with name_server(silent) as one:
        with pytest.raises(NoAnswerError, match="within"):
            await ask(Upstream([one.address]), asked("web.example"))
        await one.has_heard(packets=3)  # sent, and twice again


async def test_all_closed_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "GIVE_UP_AT_S", 60.0)
    with pytest.raises(NoAnswerError, match="can be reached"):
        await ask(Upstream([REFUSING]), asked("web.example"))


async def test_a_lost_packet_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "RESEND_AT_S", (0.05, 0.12))

    def lossy(query: Any) -> bytes | None:
        return None if len(one.packets) < 2 else answering("192.0.2.1")(query)

    async with name_server(lossy) as one:
        assert addresses(await ask(Upstream([one.address]), asked("web.example"))) == ["192.0.2.1"]


def other_id(query: Any) -> bytes:
    message = bytearray(reply(query, f"{query.q.qname} 60 A 192.0.2.66"))
    message[0] ^= 0xFF
    return bytes(message)


def other_question(query: Any) -> bytes:
    forged = parsed(asked("evil.example", ident=query.header.id).data)
    return reply(forged, "evil.example 60 A 192.0.2.66")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("forger", [other_id, other_question, lambda query: b"", lambda query: bytes(query.pack())])
async def test_a_forged_answer_is_not_taken(forger: Behaviour) -> None:
    async with name_server(forger) as one:
        with pytest.raises(NoAnswerError):
            await ask(Upstream([one.address]), asked("web.example"))


async def test_each_query_leaves_from_a_port_of_its_own() -> None:
    async with name_server(answering("192.0.2.1")) as one:
        servers = Upstream([one.address])
        for number in range(8):
            await ask(servers, asked(f"n{number}.example"))
        assert len(one.clients) > 1


async def test_truncation_is_passed_to_a_client_over_udp() -> None:
    async with name_server(truncating, answering("192.0.2.1")) as one:
        assert is_truncated(await ask(Upstream([one.address]), asked("big.example")))
        assert one.streamed == []


async def test_for_a_client_over_tcp_a_truncated_answer_is_fetched_over_tcp() -> None:
    async with name_server(truncating, answering("192.0.2.1")) as one:
        servers = Upstream([one.address])
        assert addresses(await ask(servers, asked("big.example"), over_tcp=True)) == ["192.0.2.1"]
        assert len(one.streamed) == 1
        servers.close()


async def test_our_own_address_is_not_asked() -> None:
    servers = Upstream(["127.18.0.53", "192.0.2.53", "192.0.2.53"], own_addresses=["127.18.0.53"])
    assert servers.servers == (("192.0.2.53", 53),)


@pytest.mark.parametrize("servers", [[], ["no address"], [("127.18.0.53", 53)]])
async def test_nobody_to_ask(servers: list[str]) -> None:
    with pytest.raises(NoAnswerError):
        await ask(Upstream(servers, own_addresses=["127.18.0.53"]), asked("web.example"))
