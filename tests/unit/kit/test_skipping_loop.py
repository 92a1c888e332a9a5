import asyncio
import time

from tests.kit.skipping_loop import SkippingLoop

HOUR_S = 3600.0


def test_an_hour_passes_at_once() -> None:
    async def wait() -> float:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        await asyncio.sleep(HOUR_S)
        return loop.time() - started_s

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        assert HOUR_S <= runner.run(wait()) < HOUR_S + 60


def test_timers_keep_their_order() -> None:
    async def wait() -> list[str]:
        told: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_later(2 * HOUR_S, told.append, "second")
        loop.call_later(HOUR_S, told.append, "first")
        await asyncio.sleep(3 * HOUR_S)
        return told

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        assert runner.run(wait()) == ["first", "second"]


def test_what_comes_on_a_socket_goes_before_a_timer() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1))
        writer.close()

    async def ask() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x")
            answered = await reader.read()
            writer.close()
            return answered

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        assert runner.run(ask()) == b"x"


def test_a_thread_is_waited_for() -> None:
    async def wait() -> None:
        async with asyncio.timeout(HOUR_S):
            await asyncio.to_thread(time.sleep, 0.05)

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(wait())
