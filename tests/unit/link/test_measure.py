import asyncio
from typing import Any

import pytest

from ktpy.errors import LinkLost
from ktpy.link.measure import MEASURE_S, measure


class Echo:
    """A channel whose other end sends back what comes, `delay_s` later; or says something else, or is lost."""

    def __init__(self, *, delay_s: float = 0.0, says: bytes = b"", most: int | None = None) -> None:
        self.stdin = self.stdout = self
        self._delay_s, self._says, self._most = delay_s, says, most
        self._held = bytearray()
        self.received = 0

    def write(self, data: bytes) -> None:
        self._held += self._says or data

    async def drain(self) -> None:
        await asyncio.sleep(self._delay_s)

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(self._delay_s)
        if self._most is not None and self.received >= self._most:
            return b""
        data, self._held = bytes(self._held[:size]), self._held[size:]
        self.received += len(data)
        return data


async def test_the_way_is_measured() -> None:
    echo: Any = Echo(delay_s=0.1)
    measured = await measure(echo)
    assert measured
    assert measured.round_trip_s == pytest.approx(0.1, rel=0.1)
    assert measured.bytes_per_s == pytest.approx(echo.received / MEASURE_S, rel=0.1)


async def test_an_older_agent_says_hello_instead() -> None:
    echo: Any = Echo(says=b'{"version": 1}\n')
    assert await measure(echo) is None


async def test_a_link_that_is_lost_meanwhile_is_told() -> None:
    echo: Any = Echo(delay_s=0.1, most=100_000)
    with pytest.raises(LinkLost):
        await measure(echo)
