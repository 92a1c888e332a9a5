"""The way from this laptop to a local port of this laptop, past the cluster; and the cluster where there is none."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ktpy.serve import shortcuts
from ktpy.serve.local_port import LocalPort
from ktpy.serve.shortcuts import OfferedShortcuts, Shortcuts
from ktpy.wire.route import ServicePort
from tests.kit.ports import free_port
from tests.kit.waiting import until

SERVER, ADDRESS = "https://a", "10.96.0.7"
LONG = b"x" * 300_000


class Laptop:
    """A local port that is offered, and who dials it. It fakes the cluster, which refuses each connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked_cluster = 0
        self.port = LocalPort(free_port())
        self.offered = OfferedShortcuts(folder, SERVER, {ServicePort(80): self.port})
        self.dialled = Shortcuts(self._dial, folder, SERVER)

    async def _dial(self, _make: Callable[[], Any], _host: str, _port: int) -> tuple[Any, Any]:
        self.asked_cluster += 1
        raise ConnectionRefusedError

    async def answer(self, host: str = ADDRESS, port: int = 80, data: bytes = b"here") -> bytes | None:
        """Return what the local port echoes; None where the cluster was asked."""
        reader = asyncio.StreamReader()
        try:
            transport, _ = await self.dialled.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader), host, port
            )
        except ConnectionRefusedError:
            return None
        transport.write(data)
        transport.write_eof()
        answer = await reader.read()
        transport.close()
        return answer

    def is_offered(self) -> bool:
        return any(self.folder.iterdir())

    @asynccontextmanager
    async def serving(self, *, answers: bool = True) -> AsyncIterator[None]:
        """The local port is served: what comes is sent back."""

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if answers:
                writer.write(await reader.read())
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", self.port.number)
        watching = asyncio.create_task(self.port.watch())
        try:
            yield
        finally:
            watching.cancel()
            server.close()


@pytest.fixture
def laptop() -> Iterator[Laptop]:
    with TemporaryDirectory() as folder:  # pytest's own names are too long for a unix socket
        yield Laptop(Path(folder))


async def test_what_is_offered_goes_straight_to_the_local_port_and_all_else_to_the_cluster(laptop: Laptop) -> None:
    async with laptop.serving():
        assert await laptop.answer() is None, "nothing is offered yet"
        laptop.offered.offer([ADDRESS, "fd00::7"])
        await until(laptop.is_offered, "the socket")
        assert await laptop.answer(data=LONG) == LONG
        await until(lambda: len(list(laptop.folder.iterdir())) == 2, "both sockets")
        assert await laptop.answer("fd00::7") == b"here"
        assert (await laptop.answer(port=81), await laptop.answer("10.96.0.8")) == (None, None)
        assert (laptop.dialled.counted(), laptop.port.shortcuts, laptop.asked_cluster) == ({"connections": 2}, 2, 3)
        laptop.offered.offer(())
        assert await laptop.answer() is None, "the intercept has ended"
        assert not laptop.is_offered()


async def test_a_local_port_that_goes_down_is_the_clusters_affair_at_once(laptop: Laptop) -> None:
    laptop.offered.offer([ADDRESS])
    async with laptop.serving():
        await until(laptop.is_offered, "the socket")
    # Nobody has looked at the port since, so the socket is there yet.
    assert laptop.is_offered()
    assert await laptop.answer() is None
    await until(lambda: not laptop.is_offered(), "no socket")
    async with laptop.serving():
        await until(laptop.is_offered, "the socket again")
        assert await laptop.answer() == b"here"


async def test_a_port_that_closes_all_connections_is_found_out(laptop: Laptop) -> None:
    async with laptop.serving(answers=False):
        laptop.offered.offer([ADDRESS])
        await until(laptop.is_offered, "the socket")
        assert await laptop.answer() == b""
        await until(lambda: not laptop.is_offered(), "no socket")
        assert laptop.port.closes


async def test_who_watches_sees_it(laptop: Laptop) -> None:
    seen: list[bytes] = []

    class Tap:
        asked = answered = staticmethod(seen.append)

        def ended(self) -> None:
            seen.append(b"END")

    laptop.port.taps.begin(lambda _: Tap())
    async with laptop.serving():
        laptop.offered.offer([ADDRESS])
        await until(laptop.is_offered, "the socket")
        await laptop.answer()
        await until(lambda: seen[-1:] == [b"END"], "the end")
    assert seen == [b"here", b"here", b"END"]


@pytest.mark.parametrize("is_alive", [True, False])
async def test_an_intercept_that_is_stopped_or_was_killed_holds_nothing_up(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, is_alive: bool
) -> None:
    monkeypatch.setattr(shortcuts, "TAKEN_WITHIN_S", 0.05)
    path = shortcuts._place(laptop.folder, SERVER, ADDRESS, 80)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(path))
        if is_alive:
            stopped.listen()
        assert await laptop.answer() is None
    assert path.exists() is is_alive
