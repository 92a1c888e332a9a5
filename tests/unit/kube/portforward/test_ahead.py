"""What is opened ahead, against the small server of test_port_forward.py."""

import asyncio

import pytest

from ktpy.kube.portforward.ahead import ForwardAhead
from tests.unit.kube.portforward.test_port_forward import DATA, PREAMBLE, ApiServer, Inner, forwarding
from tests.unit.kube.portforward.test_websocket import frame


async def test_what_was_opened_ahead_is_used_once() -> None:
    """What has come meanwhile is not lost."""
    requests: list[str] = []

    async def script(api: ApiServer) -> None:
        await api.upgrade(PREAMBLE + frame(2, DATA + b"hello"))
        requests.append(api.head)
        await api.reader.read()

    async with forwarding(script) as forward:
        ahead = ForwardAhead(forward)
        first, second = [(await ahead.create_connection(Inner))[1] for _ in range(2)]
        assert [await inner.read(5) for inner in (first, second)] == [b"hello", b"hello"]
        assert len(requests) == 2
        forward.close()


async def test_where_nothing_could_be_opened_ahead_it_is_opened_again() -> None:
    answers = [b"\x88\x02\x03\xe8", frame(2, DATA + b"hello")]

    async def script(api: ApiServer) -> None:
        await api.upgrade(PREAMBLE[: len(PREAMBLE) * (len(answers) == 1)] + answers.pop(0))
        await api.reader.read()

    async with forwarding(script) as forward:
        ahead = ForwardAhead(forward)
        _, inner = await ahead.create_connection(Inner)
        assert await inner.read(5) == b"hello"
        forward.close()


@pytest.mark.parametrize("stands", [True, False])
async def test_what_was_opened_ahead_for_nobody_is_closed(*, stands: bool) -> None:
    opened = asyncio.Event()

    async def script(api: ApiServer) -> None:
        await (api.upgrade() if stands else api.request())
        opened.set()
        await api.reader.read()

    async with forwarding(script) as forward:
        ahead = ForwardAhead(forward)
        await opened.wait()
        ahead.close()
