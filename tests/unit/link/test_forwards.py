"""The end at the local port, on real sockets of loopback."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest

from ktpy.link.forwards import LocalEnd
from ktpy.link.splice import End
from tests.kit.waiting import until
from tests.unit.link.test_splice import Transport, connected

ANSWER = b"HTTP/1.1 413 Content Too Large\r\n\r\n" + bytes(100_000)


async def never_doubt() -> None:
    raise AssertionError


async def local_end() -> tuple[LocalEnd, socket.socket]:
    """An end that is connected and not read yet, and the server's socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        loop = asyncio.get_running_loop()
        transport, end = await loop.create_connection(lambda: LocalEnd(never_doubt), *listening.getsockname())
        transport.pause_reading()
        return end, listening.accept()[0]


def answer_and_reset(server: socket.socket) -> None:
    """Close with a request unread, as a server does that refuses an upload early."""
    server.sendall(ANSWER)
    server.close()


def join(local: End) -> Transport:
    pod, at_pod = connected()
    local.join(pod)
    assert local.transport is not None
    local.transport.pause_reading()
    return at_pod


def by_a_write(local: End) -> None:
    assert local.transport is not None
    local.transport.write(b"more of the upload")


def by_a_read(local: End) -> None:
    local.resume_reading()


@pytest.mark.parametrize("noticed", [by_a_write, by_a_read])
async def test_an_early_answer_is_passed_on_before_the_end(noticed: Callable[[End], Any]) -> None:
    local, server = await local_end()
    at_pod = join(local)
    by_a_write(local)
    answer_and_reset(server)
    noticed(local)
    await until(lambda: local.lost, "the loss")
    assert b"".join(call for call in at_pod.calls if isinstance(call, bytes)) == ANSWER
    assert "abort" not in at_pod.calls
    assert "close" in at_pod.calls


# --- an end before the first byte of answer


class Doubt:
    """A doubt that the test decides."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_decided = asyncio.Event()

    async def __call__(self) -> None:
        self.asked += 1
        await self.is_decided.wait()


def doubted() -> tuple[LocalEnd, Doubt, Transport]:
    doubt = Doubt()
    local = LocalEnd(doubt)
    local.connection_made(cast(asyncio.Transport, Transport()))
    pod, at_pod = connected()
    pod.join(local)
    at_pod.calls.clear()
    return local, doubt, at_pod


async def test_an_end_without_an_answer_is_passed_on_when_the_doubt_is_over() -> None:
    local, doubt, at_pod = doubted()
    local.eof_received()
    local.connection_lost(None)
    await asyncio.sleep(0)
    assert (doubt.asked, at_pod.calls) == (1, [])
    doubt.is_decided.set()
    await until(lambda: "close" in at_pod.calls, "the end at the pod")
    assert at_pod.calls == ["write_eof", "close"]


async def test_an_end_after_an_answer_is_passed_on_at_once() -> None:
    local, doubt, at_pod = doubted()
    local.data_received(b"answer")
    local.eof_received()
    assert (doubt.asked, at_pod.calls) == (0, [b"answer", "write_eof"])


async def test_an_end_that_the_client_asked_for_is_passed_on_at_once() -> None:
    local, doubt, at_pod = doubted()
    assert local.other is not None
    local.other.eof_received()
    local.eof_received()
    assert (doubt.asked, at_pod.calls) == (0, ["close"])
