"""Standstills, by a clock of the test's own."""

from contextlib import aclosing

from ktpy.aio.wakes import wakes


async def test_only_standstills_are_told() -> None:
    seconds = iter([100.0, 101.0, 102.1, 402.1, 403.1, 421.0, 442.1])
    async with aclosing(wakes(20, lambda: next(seconds))) as found:
        assert round(await anext(found)) == 300
        assert round(await anext(found)) == 21
