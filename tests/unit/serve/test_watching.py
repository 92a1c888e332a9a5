"""Viewers of an intercept's requests: what they are told, and what stays when they go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from ktpy.inspect.events import RequestsMissed, WatchBegun
from ktpy.serve.local_port import LocalPort
from ktpy.serve.watching import GATHER_S, Viewer, Watching
from ktpy.wire.route import ServicePort
from tests.kit.bridge import bridged
from tests.kit.watched import REQUEST

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request without a body."""
    while await reader.read(1000):
        writer.write(OK)
    writer.close()


class Client:
    """A client's kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, path: str = "/") -> None:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: web\r\nCookie: c\r\n\r\n".encode())
        assert await self._reader.readexactly(len(OK)) == OK


class Route:
    """An intercept's local port with a server, and what watches it."""

    def __init__(self, watching: Watching, local: LocalPort, port: int) -> None:
        self.watching, self.local = watching, local
        self._port = port

    async def client(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self._port))


@asynccontextmanager
async def routed() -> AsyncIterator[Route]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        local = LocalPort(server.sockets[0].getsockname()[1])
        begun = WatchBegun("exchange", "web", "shop", "5e55", "every request", 0)
        watching = Watching({ServicePort(80): local}, lambda count: replace(begun, open_connections=count))
        async with bridged(local) as port:
            yield Route(watching, local, port)


async def next_of(stream: Any) -> dict[str, Any]:
    return dict(await anext(stream))


async def test_every_viewer_is_told_of_every_request() -> None:
    async with (
        routed() as route,
        aclosing(route.watching.stream({})) as one,
        aclosing(route.watching.stream({"bodies": True, "secrets": True})) as other,
    ):
        assert [(await next_of(one))["kind"], (await next_of(other))["kind"]] == ["watching", "watching"]
        client = await route.client()
        for number, path in ((1, "/a"), (2, "/b")):
            await client.ask(path)
            told, with_all = await next_of(one), await next_of(other)
            assert (told["kind"], told["id"], told["path"], told["status"]) == ("request", number, path, 200)
            assert (told["request"]["headers"][1], told["answer"]["body"]) == (["Cookie", "***"], None)
            assert (with_all["request"]["headers"][1], with_all["answer"]["body"]) == (["Cookie", "c"], "b2s=")


async def test_a_connection_from_before_is_counted_and_goes_on_with_its_next_request() -> None:
    async with routed() as route:
        client = await route.client()
        await client.ask()
        async with aclosing(route.watching.stream({})) as viewer:
            assert (await next_of(viewer))["open_connections"] == 1
            await client.ask("/next")
            assert (await next_of(viewer))["path"] == "/next"


async def test_who_leaves_takes_the_taps_along_and_the_ids_go_on() -> None:
    async with routed() as route:
        client = await route.client()
        for number in (1, 2):
            async with aclosing(route.watching.stream({})) as viewer:
                await next_of(viewer)
                await client.ask()
                assert (await next_of(viewer))["id"] == number
            await client.ask("/unseen")
            assert route.local.taps._make is None


async def test_what_is_not_understood_is_said() -> None:
    async with routed() as route, aclosing(route.watching.stream({})) as viewer:
        await next_of(viewer)
        client = await route.client()
        client._writer.write(b"\x16\x03\x01")
        assert await next_of(viewer) == {"kind": "unread", "port": 80, "reason": "it is TLS"}


async def test_a_request_is_sent_again() -> None:
    async with routed() as route:
        async with aclosing(route.watching.stream({})) as viewer:
            await next_of(viewer)
            await (await route.client()).ask("/a")
            await next_of(viewer)
        async with aclosing(route.watching.replay({"id": 1})) as replaying:
            first, again = [one async for one in replaying]
        assert [(one["id"], one["path"], one["status"]) for one in (first, again)] == [(1, "/a", 200)] * 2


@pytest.mark.parametrize("number", [99, None, "1", True])
async def test_a_request_that_is_not_kept(number: Any) -> None:
    async with routed() as route:
        [told] = [one async for one in route.watching.replay({"id": number})]
        assert told == {"kind": "refused", "reason": f"There is no request {number}: none was watched yet."}


async def test_a_slow_viewer_misses_what_there_is_no_room_for() -> None:
    viewer = Viewer(limit=2)
    for number in range(1, 6):
        viewer.offer(replace(REQUEST, id=number))
    assert [await viewer.take() for _ in range(3)] == [
        replace(REQUEST, id=1),
        replace(REQUEST, id=2),
        RequestsMissed(3),
    ]
    viewer.offer(REQUEST)
    assert await viewer.take() == REQUEST


async def test_who_waits_has_what_comes_soon_after_with_it() -> None:
    viewer = Viewer()
    first = asyncio.create_task(viewer.take())
    await asyncio.sleep(0)
    viewer.offer(REQUEST)
    await asyncio.sleep(GATHER_S / 2)
    viewer.offer(RequestsMissed(1))
    assert not first.done()
    assert await first == REQUEST
    assert await viewer.take() == RequestsMissed(1)


async def test_large_requests_take_more_room() -> None:
    viewer = Viewer(limit_bytes=1)
    viewer.offer(REQUEST)
    viewer.offer(REQUEST)
    assert [await viewer.take(), await viewer.take()] == [REQUEST, RequestsMissed(1)]
