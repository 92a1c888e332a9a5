"""When the kernel is asked to gather, and when no more."""

import asyncio
import socket
from typing import Any

import pytest

from ktpy.kube.portforward import gathering as module
from ktpy.kube.portforward.gathering import BULK_BYTES, GATHER_BYTES, Gathering

PAUSE_S, GOES_ON_WITHIN_S = 10.0, 200.0
"""In place of milliseconds, of which the tests themselves take some."""


class Transport(asyncio.BaseTransport):
    """Its socket notes what it waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_for: list[int] = []
        self.failure: OSError | None = None

    def get_extra_info(self, name: str, _default: Any = None) -> "Transport":
        assert name == "socket"
        return self

    def setsockopt(self, *option: int) -> None:
        assert option[:2] == (socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        if self.failure is not None:
            raise self.failure
        self.waits_for.append(option[2])


@pytest.fixture
async def transport() -> Transport:
    return Transport()


@pytest.fixture
async def gathering(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> Gathering:
    monkeypatch.setattr(module, "PAUSE_S", PAUSE_S)
    monkeypatch.setattr(module, "GOES_ON_WITHIN_S", GOES_ON_WITHIN_S)
    return Gathering(transport)


async def pause(times: float = 3.0) -> None:
    await asyncio.sleep(times * PAUSE_S)


async def test_bulk_is_gathered_until_a_pause(gathering: Gathering, transport: Transport) -> None:
    gathering.came(BULK_BYTES - 1)
    assert transport.waits_for == []
    gathering.came(1)
    for _ in range(5):
        await pause(0.5)
        gathering.came(1)
    assert transport.waits_for == [GATHER_BYTES]
    await pause()
    assert transport.waits_for == [GATHER_BYTES, 1]
    await pause(10)
    assert transport.waits_for == [GATHER_BYTES, 1]


async def test_answers_with_pauses_between_them_are_not(gathering: Gathering, transport: Transport) -> None:
    for _ in range(10):
        gathering.came(BULK_BYTES // 2)
        await pause()
    assert transport.waits_for == []


async def test_bulk_that_goes_on_is_gathered_sooner(gathering: Gathering, transport: Transport) -> None:
    gathering.came(BULK_BYTES)
    await pause()
    gathering.came(GATHER_BYTES)
    assert transport.waits_for == [GATHER_BYTES, 1, GATHER_BYTES]
    await asyncio.sleep(PAUSE_S * 3 + GOES_ON_WITHIN_S)
    gathering.came(GATHER_BYTES)
    assert transport.waits_for == [GATHER_BYTES, 1, GATHER_BYTES, 1]


async def test_nothing_is_looked_for_after_its_end(gathering: Gathering, transport: Transport) -> None:
    gathering.came(BULK_BYTES)
    gathering.end()
    await pause()
    assert transport.waits_for == [GATHER_BYTES]


async def test_a_system_without_it(gathering: Gathering, transport: Transport) -> None:
    transport.failure = OSError("not here")
    gathering.came(BULK_BYTES)
    await pause()
    assert transport.waits_for == []
