"""Registering a route with a stand-in for the gateway behind a real OpenSSH server."""

import asyncio
import json
import re
from collections.abc import Iterator

import pytest

from ktpy import __version__
from ktpy.errors import KtpyError, PodFailed, RouteTaken, TargetUnsuitable
from ktpy.link import connection as link_connection
from ktpy.link.connection import KeyNotTaken
from ktpy.link.key import make_key
from ktpy.link.route import RouteNotYet, read_answer
from ktpy.wire.route import Refusal, RouteCounters, RouteHello, RouteRequest, ServicePort
from tests.component.link.gateway import AGENT, HELLO, open_route
from tests.component.link.sshd import Sshd
from tests.kit.waiting import until


async def test_the_agent_hears_who_we_are_and_counts(gateway: Sshd) -> None:
    heard: asyncio.Queue[dict[ServicePort, RouteCounters]] = asyncio.Queue()
    connection = await open_route(gateway, on_counters=heard.put_nowait)
    assert json.loads((gateway.directory / "hello").read_text()) == json.loads(HELLO.line())
    async with asyncio.timeout(60):
        assert await heard.get() == {ServicePort(80): RouteCounters(0, 0, is_up=True)}
        assert await heard.get() == {ServicePort(80): RouteCounters(1, 0, is_up=True)}
    connection.close()
    assert await connection.wait_closed() is None
    await until((gateway.directory / "left").exists, "the agent hears that we left")


async def test_a_route_that_somebody_else_has(gateway: Sshd) -> None:
    gateway.install("""print('{"refused": "port 80 is exchanged by bob already", "holder": "bob"}')""")
    with pytest.raises(RouteTaken, match="by bob already"):
        await open_route(gateway)


async def test_a_key_the_pod_has_not_heard_of(gateway: Sshd) -> None:
    gateway.key = make_key()
    with pytest.raises(KeyNotTaken):
        await open_route(gateway)


async def test_a_key_the_pod_hears_of_meanwhile(gateway: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.key = make_key()

    def pauses_s() -> Iterator[float]:
        gateway.install(AGENT)
        yield 0.0

    monkeypatch.setattr(link_connection, "KEY_AGAIN_AFTER_S", pauses_s())
    (await open_route(gateway)).close()


async def test_a_foreign_image(gateway: Sshd) -> None:
    gateway.install("print('hello')")
    with pytest.raises(PodFailed, match="not ktpy's agent"):
        await open_route(gateway)


@pytest.mark.parametrize(
    ("refusal", "error", "hint"),
    [
        (Refusal("port 80 is exchanged by bob already", "bob"), RouteTaken, "Ask the holder"),
        (Refusal("service web has no port 80."), TargetUnsuitable, None),
        (Refusal("HAProxy does not take this match: missing )"), TargetUnsuitable, None),
        (Refusal("this gateway cannot match by tap"), TargetUnsuitable, "ktpy gateway release"),
        (Refusal("this gateway of web is about to end", for_now=True), RouteNotYet, None),
    ],
)
def test_a_refusal_is_an_error_with_the_gateways_sentence(
    refusal: Refusal, error: type[KtpyError], hint: str | None
) -> None:
    begin, rest = refusal.sentence[0].upper(), refusal.sentence[1:].rstrip(".")
    with pytest.raises(error, match=rf"^{begin}{re.escape(rest)}\.$") as raised:
        read_answer(refusal.line(), HELLO)
    assert (hint or "") in (raised.value.hint or "")
    assert (raised.value.hint is None) is (hint is None)


def test_an_agent_that_is_older_than_udp_ports_is_told_of_with_the_version_that_is_needed() -> None:
    hello = RouteHello("ab12", "alice", (RouteRequest(53, protocol="UDP"),))
    with pytest.raises(PodFailed) as told:
        read_answer(b'{"refused": "port 53 of service dns is UDP; exposing a UDP port comes later"}', hello)
    assert f"needs the one of ktpy {__version__}" in told.value.message
    assert "ktpy gateway release" in str(told.value.hint)
