"""A route against a real OpenSSH server, with a stand-in for the gateway behind it."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ktpy.errors import KtpyError, LinkLost, PodFailed, RouteTaken
from ktpy.link.connection import KeyNotTaken
from ktpy.link.key import make_key
from ktpy.link.route import Route, RouteNotYet, read_answer
from ktpy.wire.route import Refusal, RouteCounters, RouteHello, RouteRequest
from tests.component.link.sshd import Sshd, echo, target, until

P = TypeVar("P", bound=asyncio.Protocol)

AGENT = """
import json, os, sys
hello = json.loads(sys.stdin.readline())
with open("hello", "w") as seen:
    json.dump(hello, seen)
def say(message):
    print(json.dumps(message), flush=True)
say({"accepted": [{"port": r["port"], "socket": f"{os.getcwd()}/{r['port']}.sock"} for r in hello["routes"]]})
try:
    for number, line in enumerate(sys.stdin):
        say({"counters": {"80": {"requests": number, "fallbacks": 0, "is_up": True}}})
finally:  # the end of stdin, or of whoever reads stdout
    open("left", "w").close()
"""
HELLO = RouteHello("ab12", "alice", (RouteRequest(80),))


class FakeLocalPort:
    """Up and down at the test's word; what it says when it is down is what a real port would."""

    def __init__(self, number: int = 0, *, is_up: bool = True) -> None:
        self.number = number
        self.up, self.down = asyncio.Event(), asyncio.Event()
        self.turn(is_up)

    def turn(self, is_up: bool) -> None:
        on, off = (self.up, self.down) if is_up else (self.down, self.up)
        on.set()
        off.clear()

    async def connect(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        try:
            return await asyncio.get_running_loop().create_connection(protocol_factory, "127.0.0.1", self.number)
        except OSError:
            self.turn(False)
            raise

    async def wait_up(self) -> None:
        await self.up.wait()

    async def wait_down(self) -> None:
        await self.down.wait()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path)
    server.install(AGENT)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def open_route(sshd: Sshd, local: FakeLocalPort, **options: Any) -> Route:
    defaults: dict[str, Any] = {"server": sshd.place, "beat_interval_s": 0.05, "on_counters": lambda _: None}
    return await Route.open(asyncio.get_running_loop(), sshd.key, HELLO, {80: local}, **(defaults | options))


@asynccontextmanager
async def serving(sshd: Sshd, local: FakeLocalPort) -> AsyncIterator[Route]:
    route = await open_route(sshd, local)
    task = asyncio.create_task(route.serve())
    yield route
    route.close()
    assert await task is None


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


async def connect(sshd: Sshd) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    path = sshd.directory / "80.sock"
    await until(lambda: accepts(path), "the socket in the pod")
    return await asyncio.open_unix_connection(path)


# --- registering


async def test_the_agent_hears_who_we_are_and_counts(sshd: Sshd) -> None:
    heard: asyncio.Queue[dict[int, RouteCounters]] = asyncio.Queue()
    route = await open_route(sshd, FakeLocalPort(), on_counters=heard.put_nowait)
    assert json.loads((sshd.directory / "hello").read_text()) == json.loads(HELLO.line())
    async with asyncio.timeout(5):
        assert await heard.get() == {80: RouteCounters(0, 0, is_up=True)}
        assert await heard.get() == {80: RouteCounters(1, 0, is_up=True)}
    route.close()
    assert await route.wait_closed() is None
    await until((sshd.directory / "left").exists, "the agent hears that we left")


async def test_a_route_that_somebody_else_has(sshd: Sshd) -> None:
    sshd.install("""print('{"refused": "port 80 is exchanged by bob already", "holder": "bob"}')""")
    with pytest.raises(RouteTaken, match="by bob already"):
        await open_route(sshd, FakeLocalPort())


async def test_a_key_the_pod_has_not_heard_of(sshd: Sshd) -> None:
    sshd.key = make_key()
    with pytest.raises(KeyNotTaken):
        await open_route(sshd, FakeLocalPort())


async def test_a_foreign_image(sshd: Sshd) -> None:
    sshd.install("print('hello')")
    with pytest.raises(PodFailed, match="not ktpy's agent"):
        await open_route(sshd, FakeLocalPort())


async def test_an_agent_that_babbles_later_loses_the_link(sshd: Sshd) -> None:
    sshd.install(AGENT.replace('say({"counters"', 'print("oops", flush=True); ({"counters"'))
    route = await open_route(sshd, FakeLocalPort())
    async with asyncio.timeout(5):
        reason = await route.serve()
    assert "does not keep to the protocol" in str(reason)


# --- the socket follows the local port


async def test_a_request_reaches_the_local_port_and_its_end_comes_back(sshd: Sshd) -> None:
    async with target(echo) as number, serving(sshd, FakeLocalPort(number)) as route:
        reader, writer = await connect(sshd)
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert await reader.read() == b"x" * 300_000
        writer.close()
        assert route.sent_bytes == 300_000


async def test_a_server_that_speaks_first(sshd: Sshd) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        assert await reader.read() == b"QUIT"
        writer.close()

    async with target(greet) as number, serving(sshd, FakeLocalPort(number)):
        reader, writer = await connect(sshd)
        assert await reader.readline() == b"220 ready\r\n"
        writer.write(b"QUIT")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_the_socket_is_there_only_while_the_local_port_answers(sshd: Sshd) -> None:
    path = sshd.directory / "80.sock"
    async with target(echo) as number:
        local = FakeLocalPort(number, is_up=False)
        async with serving(sshd, local):
            await asyncio.sleep(0.1)
            assert not accepts(path)
            for _ in range(3):
                local.turn(True)
                await until(lambda: accepts(path), "the socket")
                local.turn(False)
                await until(lambda: not accepts(path), "no socket")


async def test_a_refused_dial_ends_the_connection_and_takes_the_socket_away(sshd: Sshd) -> None:
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        async with serving(sshd, FakeLocalPort(bound.getsockname()[1])):
            path = sshd.directory / "80.sock"
            await until(path.exists, "the socket")
            reader, writer = await asyncio.open_unix_connection(path)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()
            await until(lambda: not accepts(path), "no socket")


async def test_a_connection_that_stands_outlives_the_socket(sshd: Sshd) -> None:
    async with target(echo) as number:
        local = FakeLocalPort(number)
        async with serving(sshd, local):
            reader, writer = await connect(sshd)
            writer.write(b"here")
            assert await reader.readexactly(4) == b"here"
            local.turn(False)
            await until(lambda: not accepts(sshd.directory / "80.sock"), "no socket")
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
            writer.close()


async def test_a_reset_by_the_local_server_ends_the_connection(sshd: Sshd) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with target(reset) as number, serving(sshd, FakeLocalPort(number)):
        reader, writer = await connect(sshd)
        writer.write(b"xy")
        with suppress(ConnectionError):
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        writer.close()


async def test_200_requests_at_once(sshd: Sshd) -> None:
    async def one(number: int) -> None:
        reader, writer = await asyncio.open_unix_connection(sshd.directory / "80.sock")
        payload = number.to_bytes(2, "big") * 10_000
        writer.write(payload)
        writer.write_eof()
        assert await reader.read() == payload
        writer.close()

    async with target(echo) as number, serving(sshd, FakeLocalPort(number)):
        _, writer = await connect(sshd)
        writer.close()
        async with asyncio.TaskGroup() as group:
            for index in range(200):
                group.create_task(one(index))


async def test_a_client_that_does_not_read_holds_up_only_itself(sshd: Sshd) -> None:
    sent = 0
    stopped = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        if await reader.read(1) == b"f":
            with suppress(ConnectionError, TimeoutError):
                while sent < 200 << 20:
                    writer.write(bytes(1 << 20))
                    async with asyncio.timeout(1):
                        await writer.drain()
                    sent += 1 << 20
            stopped.set()
        else:
            writer.write(b"pong")
        writer.close()

    async with target(flood) as number, serving(sshd, FakeLocalPort(number)):
        _, greedy = await connect(sshd)
        greedy.write(b"f")
        async with asyncio.timeout(20):
            await stopped.wait()
        assert sent < 64 << 20
        reader, writer = await connect(sshd)
        writer.write(b"p")
        assert await reader.read() == b"pong"
        writer.close()
        greedy.transport.abort()


# --- the end


async def test_sshd_killed(sshd: Sshd) -> None:
    began, lost = asyncio.Event(), asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        with suppress(ConnectionError):
            assert await reader.read() == b""
        lost.set()
        writer.close()

    async with target(hold) as number:
        route = await open_route(sshd, FakeLocalPort(number))
        task = asyncio.create_task(route.serve())
        _, writer = await connect(sshd)
        async with asyncio.timeout(5):
            await began.wait()
            sshd.signal(signal.SIGKILL)
            assert isinstance(await task, LinkLost)
            await lost.wait()
        writer.close()


async def test_cancelled(sshd: Sshd) -> None:
    async with target(echo) as number:
        route = await open_route(sshd, FakeLocalPort(number))
        task = asyncio.create_task(route.serve())
        _, writer = await connect(sshd)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        route.close()
        assert await route.wait_closed() is None
        writer.close()


async def test_a_socket_that_cannot_be_made_loses_the_link(sshd: Sshd) -> None:
    sshd.install(AGENT.replace("os.getcwd()", "'/nowhere'"))
    route = await open_route(sshd, FakeLocalPort())
    async with asyncio.timeout(5):
        assert "does not make the socket" in str(await route.serve())


@pytest.mark.parametrize(
    ("refusal", "error", "hint"),
    [
        (Refusal("port 80 is exchanged by bob already", "bob"), RouteTaken, "Ask the holder"),
        (Refusal("service web has no port 80."), RouteTaken, None),
        (Refusal("this gateway of web is about to end", for_now=True), RouteNotYet, None),
    ],
)
def test_a_refusal_is_an_error_with_the_gateways_sentence(
    refusal: Refusal, error: type[KtpyError], hint: str | None
) -> None:
    with pytest.raises(error, match=rf"^{refusal.sentence.rstrip('.')}\.$") as raised:
        read_answer(refusal.line(), HELLO)
    assert (hint or "") in (raised.value.hint or "")
    assert (raised.value.hint is None) is (hint is None)
