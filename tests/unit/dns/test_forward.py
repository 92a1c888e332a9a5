import asyncio

import dnslib
import pytest

from ktpy.dns.forward import Forwarder, NoAnswerError
from ktpy.dns.message import Query, parse_query
from tests.unit.dns.name_servers import addresses, answering, asked, parsed


class Scripted:
    """An exchange that answers when it is let."""

    def __init__(self, *, open_: bool = True, fails: bool = False) -> None:
        self.packets: list[bytes] = []
        self.fails = fails
        self.gate = asyncio.Event()
        self.running = self.most_running = 0
        if open_:
            self.gate.set()

    async def __call__(self, packet: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        self.packets.append(packet)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if self.fails:
            raise NoAnswerError("scripted")
        message = answering("192.0.2.1")(parsed(packet))
        assert message is not None
        return message


async def test_a_reply_has_the_clients_id_but_the_server_saw_another() -> None:
    exchange = Scripted()
    forwarder = Forwarder(exchange)
    message = await forwarder.ask(asked("web.example", ident=4711), over_tcp=False)
    assert parsed(message).header.id == 4711
    seen = []
    for number in range(8):
        await forwarder.ask(asked(f"n{number}.example", ident=4711), over_tcp=False)
        seen.append(exchange.packets[-1][:2])
    assert len(set(seen)) > 1


async def test_everything_but_the_id_goes_through_unchanged() -> None:
    exchange = Scripted()
    query = asked("WeB.example", edns_bytes=1400)
    await Forwarder(exchange).ask(query, over_tcp=False)
    assert exchange.packets[0][2:] == query.data[2:]


async def test_the_same_question_is_asked_once_and_then_known() -> None:
    exchange = Scripted()
    forwarder = Forwarder(exchange)
    await forwarder.ask(asked("web.example"), over_tcp=False)
    message = await forwarder.ask(asked("WEB.example", ident=7), over_tcp=True)
    assert addresses(message) == ["192.0.2.1"]
    assert len(exchange.packets) == 1
    assert (forwarder.exchanges, forwarder.cache_hits) == (1, 1)


@pytest.mark.parametrize("other", [asked("web.example", edns_bytes=1232), asked("web.example", "AAAA")])
async def test_a_different_question_is_asked(other: Query) -> None:
    exchange = Scripted()
    forwarder = Forwarder(exchange)
    await forwarder.ask(asked("web.example"), over_tcp=False)
    await forwarder.ask(other, over_tcp=False)
    assert len(exchange.packets) == 2


async def test_a_query_with_a_cookie_shares_nothing() -> None:
    record = dnslib.DNSRecord.question("web.example")
    record.add_ar(dnslib.EDNS0(opts=[dnslib.EDNSOption(10, b"cookie!!")]))
    query = parse_query(bytes(record.pack()))
    exchange = Scripted()
    forwarder = Forwarder(exchange)
    await forwarder.ask(query, over_tcp=False)
    await forwarder.ask(query, over_tcp=False)
    assert len(exchange.packets) == 2


async def test_those_who_ask_the_same_at_once_share_one_exchange() -> None:
    exchange = Scripted(open_=False)
    forwarder = Forwarder(exchange)
    async with asyncio.TaskGroup() as tasks:
        asking = [
            tasks.create_task(forwarder.ask(asked("web.example", ident=ident), over_tcp=False)) for ident in range(20)
        ]
        await asyncio.sleep(0)
        exchange.gate.set()
    assert len(exchange.packets) == 1
    assert [parsed(task.result()).header.id for task in asking] == list(range(20))


async def test_those_who_wait_for_an_exchange_that_fails_fail_too() -> None:
    exchange = Scripted(open_=False, fails=True)
    forwarder = Forwarder(exchange)
    asking = [asyncio.create_task(forwarder.ask(asked("web.example"), over_tcp=False)) for _ in range(3)]
    await asyncio.sleep(0)
    exchange.gate.set()
    for task in asking:
        with pytest.raises(NoAnswerError):
            await task
    assert not forwarder._in_flight


async def test_one_who_gives_up_waiting_does_not_take_the_others_along() -> None:
    exchange = Scripted(open_=False)
    forwarder = Forwarder(exchange)
    asking = [asyncio.create_task(forwarder.ask(asked("web.example"), over_tcp=False)) for _ in range(3)]
    await asyncio.sleep(0)
    asking[1].cancel()
    await asyncio.sleep(0)
    exchange.gate.set()
    assert addresses(await asking[2]) == ["192.0.2.1"]


async def test_not_more_than_so_many_exchanges_at_once() -> None:
    exchange = Scripted(open_=False)
    forwarder = Forwarder(exchange, concurrency=4)
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(forwarder.ask(asked(f"n{number}.example"), over_tcp=False))
        await asyncio.sleep(0)
        exchange.gate.set()
    assert exchange.most_running == 4
    assert len(exchange.packets) == 20


async def test_another_server_is_asked_anew_also_what_was_asked_meanwhile() -> None:
    before, after = Scripted(open_=False), Scripted()
    forwarder = Forwarder(before)
    waiting = asyncio.create_task(forwarder.ask(asked("web.example"), over_tcp=False))
    await asyncio.sleep(0)
    assert before.packets
    forwarder.replace_exchange(after)
    before.gate.set()
    await waiting
    assert forwarder.cached(asked("web.example")) is None
    await forwarder.ask(asked("web.example"), over_tcp=False)
    assert len(after.packets) == 1
