import asyncio
import random

import pytest

from ktpy.dns import stream
from ktpy.dns.forward import NoAnswerError
from ktpy.dns.message import Query
from ktpy.dns.stream import Frames, StreamClient, framed
from ktpy.errors import LinkLost
from tests.unit.dns.name_servers import addresses, answering, asked, name_server, parsed, reply, silent


def client(*servers: tuple[str, int]) -> StreamClient:
    return StreamClient(asyncio.get_running_loop().create_connection, servers)


async def ask(streams: StreamClient, query: Query) -> bytes:
    return await streams(query.data, query.question)


def test_messages_are_cut_out_of_a_stream_however_it_arrives() -> None:
    seeded = random.Random(1)
    messages = [seeded.randbytes(seeded.choice([0, 1, 12, 300, 65535])) for _ in range(50)]
    data = b"".join(map(framed, messages))
    frames, found, offset = Frames(), list[bytes](), 0
    while offset < len(data):
        step = seeded.choice([1, 2, 3, 1000, 100_000])
        frames.feed(data[offset : offset + step])
        found += frames
        offset += step
    assert found == messages


def test_who_stops_half_way_finds_the_rest() -> None:
    frames = Frames()
    frames.feed(framed(b"one") + framed(b"two") + framed(b"three")[:4])
    assert next(iter(frames)) == b"one"
    frames.feed(framed(b"three")[4:])
    assert list(frames) == [b"two", b"three"]


async def test_queries_share_one_connection() -> None:
    async with name_server(answering("192.0.2.1")) as server:
        streams = client(server.address)
        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(ask(streams, asked(f"n{number}.example", ident=7)))
        assert len(server.connections) == 1
        assert len({message[:2] for message in server.streamed}) == 50  # ids are made distinct
        streams.close()


async def test_replies_may_come_in_any_order() -> None:
    async def backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies = []
        for number in range(3):
            length = int.from_bytes(await reader.readexactly(2), "big")
            query = parsed(await reader.readexactly(length))
            replies.append(framed(reply(query, f"{query.q.qname} 60 A 192.0.2.{number}")))
        writer.write(b"".join(reversed(replies)))
        writer.close()

    listener = await asyncio.start_server(backwards, "127.0.0.1", 0)
    streams = client(listener.sockets[0].getsockname())
    found = await asyncio.gather(*(ask(streams, asked(f"n{number}.example")) for number in range(3)))
    assert [addresses(message) for message in found] == [["192.0.2.0"], ["192.0.2.1"], ["192.0.2.2"]]
    listener.close()


async def test_a_connection_closed_while_idle_is_dialled_anew() -> None:
    async with name_server(answering("192.0.2.1")) as server:
        streams = client(server.address)
        await ask(streams, asked("a.example"))
        server.connections[0].close()
        await server.connections[0].wait_closed()
        assert addresses(await ask(streams, asked("b.example"))) == ["192.0.2.1"]
        assert len(server.connections) == 2
        streams.close()


async def test_a_connection_closed_under_a_query_is_tried_once_more() -> None:
    async with name_server(answering("192.0.2.1")) as server:
        streams = client(server.address)
        await ask(streams, asked("a.example"))
        server.tcp = silent
        task = asyncio.create_task(ask(streams, asked("b.example")))
        await server.has_heard(streamed=2)
        server.tcp = answering("192.0.2.2")
        server.connections[0].close()
        assert addresses(await task) == ["192.0.2.2"]
        streams.close()


async def test_a_server_that_closes_every_connection_is_no_answer() -> None:
    async def slam(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(slam, "127.0.0.1", 0)
    with pytest.raises(NoAnswerError):
        await ask(client(listener.sockets[0].getsockname()), asked("a.example"))
    listener.close()


async def test_the_next_address_is_dialled_when_the_first_refuses() -> None:
    async with name_server(answering("192.0.2.1")) as server:
        streams = client(("127.0.0.1", 1), server.address)
        assert addresses(await ask(streams, asked("a.example"))) == ["192.0.2.1"]
        streams.close()


@pytest.mark.parametrize("failure", [ConnectionRefusedError(), LinkLost("the tunnel broke")])
async def test_after_a_failed_dial_queries_fail_at_once_for_a_while(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    dials = []

    async def dial(*where: object) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        dials.append(where)
        raise failure

    streams = StreamClient(dial, [("10.96.0.10", 53)])
    for _ in range(10):
        with pytest.raises(NoAnswerError):
            await ask(streams, asked("a.example"))
    assert len(dials) == 1
    monkeypatch.setattr(streams, "_blocked_until_s", 0.0)
    with pytest.raises(NoAnswerError):
        await ask(streams, asked("a.example"))
    assert len(dials) == 2


async def test_a_server_that_says_nothing_is_given_up_and_its_connection_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with name_server(silent) as server:
        streams = client(server.address)
        with monkeypatch.context() as patches:
            patches.setattr(stream, "ANSWER_WITHIN_S", 0.05)
            with pytest.raises(NoAnswerError, match="within"):
                await ask(streams, asked("a.example"))
        server.tcp = answering("192.0.2.1")
        await ask(streams, asked("b.example"))
        assert len(server.connections) == 2
        streams.close()


async def test_a_slow_answer_to_one_leaves_the_connection_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ANSWER_WITHIN_S", 0.5)

    def choosy(query: object) -> bytes | None:
        name = str(query.q.qname)  # type: ignore[attr-defined]
        return None if name.startswith("slow") else reply(query, f"{name} 60 A 192.0.2.1")

    async with name_server(choosy) as server:
        streams = client(server.address)
        slow = asyncio.create_task(ask(streams, asked("slow.example")))
        await server.has_heard(streamed=1)
        await ask(streams, asked("a.example"))
        with pytest.raises(NoAnswerError):
            await slow
        await ask(streams, asked("b.example"))
        assert len(server.connections) == 1
        streams.close()


async def test_a_reply_to_another_question_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ANSWER_WITHIN_S", 0.1)

    def wrong(query: object) -> bytes:
        other = parsed(asked("other.example").data)
        other.header.id = query.header.id  # type: ignore[attr-defined]
        return reply(other, "other.example 60 A 192.0.2.66")

    async with name_server(wrong) as server:
        streams = client(server.address)
        with pytest.raises(NoAnswerError):
            await ask(streams, asked("a.example"))
        streams.close()


async def test_an_idle_connection_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "IDLE_S", 0.05)
    async with name_server(answering("192.0.2.1")) as server:
        streams = client(server.address)
        await ask(streams, asked("a.example"))
        async with asyncio.timeout(5):
            await server.connections[0].wait_closed()
        streams.close()
