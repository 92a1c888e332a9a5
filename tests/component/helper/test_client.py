"""The main process's end, against helpers that behave badly. Helpers that work are in tests/net."""

import asyncio
import logging
import sys
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from ktpy.errors import HelperFailed, PrivilegeMissing, TunUnavailable
from ktpy.helper import client, launch
from ktpy.helper.client import ROUTES_AT_ONCE, HelperClient
from ktpy.helper.launch import LaunchedHelper
from ktpy.helper.protocol import Hello

PRELUDE = """
import os, socket, sys
sock = socket.socket(fileno=0)
def say(text, *descriptors):
    socket.send_fds(sock, [text.encode()], descriptors)
def hear():
    return sock.recv(1 << 20).decode()
HELLO = '{"Hello": {"pid": 1, "owner_uid": 1000, "remark": "Note."}}'
RESOLVER = '{"Resolver": {"kind": "%s", "form": "file", "nameservers": [], "search": [], "options": []}}'
"""


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


Fake = Callable[[str], LaunchedHelper]


@pytest.fixture
def fake() -> Fake:
    """A process in the helper's place that runs a script."""
    return lambda script: launch.launch([sys.executable, "-c", PRELUDE + script])


async def test_hello_tells_who_it_is(fake: Fake) -> None:
    helper = await HelperClient.start(fake("say(HELLO); hear()"))
    assert helper.hello == Hello(1, 1000, "Note.")
    await helper.close()


async def test_requests_are_traced(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    helper = await HelperClient.start(fake("say(HELLO); hear(); say(RESOLVER % 'resolv.conf'); hear()"))
    with caplog.at_level(logging.INFO, "ktpy"):
        await helper.detect_resolver()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["helper DetectResolver"] * 2
    await helper.close()


async def test_death_before_hello_is_told_with_its_last_words(fake: Fake) -> None:
    with pytest.raises(HelperFailed, match=r"did not start \(ModuleNotFoundError: no ktpy\)"):
        await HelperClient.start(fake("raise ModuleNotFoundError('no ktpy')"))


async def test_failure_before_hello_keeps_its_class(fake: Fake) -> None:
    failed = """say('{"Failed": {"error": "PrivilegeMissing", "message": "Not root.", "hint": null}}')"""
    with pytest.raises(PrivilegeMissing, match="Not root"):
        await HelperClient.start(fake(failed))


async def test_silence_is_not_waited_for_for_ever(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.05)
    with pytest.raises(HelperFailed, match="did not start within"):
        await HelperClient.start(fake("hear()"))


async def test_cancelled_start_lets_the_helper_go(fake: Fake) -> None:
    launched = fake("hear()")
    starting = asyncio.create_task(HelperClient.start(launched), name="starting")
    await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert launched.socket.fileno() == -1
    await asyncio.to_thread(launched._process.wait, 5)


async def test_death_while_asked(fake: Fake) -> None:
    helper = await HelperClient.start(fake("say(HELLO); hear(); sys.stderr.write('out of memory'); sys.exit(1)"))
    with pytest.raises(HelperFailed, match=r"helper ended \(out of memory\)") as caught:
        await helper.detect_resolver()
    assert "ktpy clean" in (caught.value.hint or "")
    await helper.wait_closed()
    assert await helper.close() is None


async def test_death_while_idle_is_noticed(fake: Fake) -> None:
    helper = await HelperClient.start(fake("say(HELLO)"))
    await helper.wait_closed()
    with pytest.raises(HelperFailed, match="helper ended"):
        await helper.open_tun()
    await helper.close()


@pytest.mark.parametrize("answer", ["garbage", '{"Undone": {}}', '{"NoSuch": {}}'])
async def test_nonsense_ends_it(fake: Fake, answer: str) -> None:
    helper = await HelperClient.start(fake(f"say(HELLO); hear(); say({answer!r}); hear()"))
    with pytest.raises(HelperFailed):
        await helper.detect_resolver()
    await helper.wait_closed()
    await helper.close()


async def test_answer_to_another_question(fake: Fake) -> None:
    helper = await HelperClient.start(fake("say(HELLO); hear(); say(RESOLVER % 'resolv.conf'); hear()"))
    with pytest.raises(HelperFailed, match="answered with Resolver"):
        await helper.recover()
    await helper.close()


async def test_descriptors_nobody_asked_for_are_closed(fake: Fake) -> None:
    helper = await HelperClient.start(fake("say(HELLO); hear(); say(RESOLVER % 'resolv.conf', 0, 0); hear()"))
    before = open_descriptors()
    with pytest.raises(HelperFailed, match="2 descriptors, not 0"):
        await helper.detect_resolver()
    assert open_descriptors() == before
    await helper.close()


COUNTING = """
say(HELLO)
sizes = []
for _ in range(2):
    sizes.append(str(hear().count("/32")))
    say('{"RoutesAdded": {}}')
hear()
say(RESOLVER % " ".join(sizes))
hear()
"""


async def test_many_routes_are_several_requests(fake: Fake) -> None:
    helper = await HelperClient.start(fake(COUNTING))
    first = int(ip_address("10.0.0.0"))
    await helper.add_routes(ip_network(first + number) for number in range(ROUTES_AT_ONCE + 1))
    assert (await helper.detect_resolver()).kind == f"{ROUTES_AT_ONCE} 1"
    await helper.close()


async def test_typed_error(fake: Fake) -> None:
    failed = """say('{"Failed": {"error": "TunUnavailable", "message": "No TUN.", "hint": "Load it."}}')"""
    helper = await HelperClient.start(fake(f"say(HELLO); hear(); {failed}; hear()"))
    with pytest.raises(TunUnavailable) as caught:
        await helper.open_tun()
    assert (caught.value.message, caught.value.hint) == ("No TUN.", "Load it.")
    await helper.close()


async def test_overlapping_requests_get_their_own_answers(fake: Fake) -> None:
    script = "say(HELLO); hear(); hear(); say(RESOLVER % 'first'); say(RESOLVER % 'second'); hear()"
    helper = await HelperClient.start(fake(script))
    first, second = await asyncio.gather(helper.detect_resolver(), helper.detect_resolver())
    assert (first.kind, second.kind) == ("first", "second")
    await helper.close()


async def test_answer_to_a_cancelled_request_is_dropped_and_its_descriptors_closed(fake: Fake) -> None:
    script = "say(HELLO); hear(); hear(); say(RESOLVER % 'first', 0); say(RESOLVER % 'second'); hear()"
    helper = await HelperClient.start(fake(script))
    before = open_descriptors()
    asking = asyncio.create_task(helper.detect_resolver(), name="asking")
    await asyncio.sleep(0)
    asking.cancel()
    assert (await helper.detect_resolver()).kind == "second"
    assert open_descriptors() == before
    await helper.close()


async def test_what_the_helper_would_refuse_is_not_even_sent(fake: Fake) -> None:
    helper = await HelperClient.start(fake("say(HELLO); hear()"))
    with pytest.raises(HelperFailed, match="default route"):
        await helper.add_routes([ip_network("0.0.0.0/0")])
    with pytest.raises(HelperFailed, match="not a domain name"):
        await helper.set_resolver([ip_address("127.18.0.53")], search=["a b"], cluster_domain="cluster.local")
    assert not helper._channel._waiting
    await helper.close()
