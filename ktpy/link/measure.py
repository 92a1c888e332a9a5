"""How fast the way to an agent is, by what it sends back."""

import asyncio
import statistics
from contextlib import suppress
from typing import Final

from ktpy.aio.background_task import background_task
from ktpy.errors import LinkLost
from ktpy.frozen import dataclass
from ktpy.link.ssh_library import asyncssh

ROUND_TRIPS: Final = 10
MEASURE_S: Final = 2.0
_PIECE: Final = bytes(1 << 16)


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured are the median of some round trips, and how much goes both ways at once."""

    round_trip_s: float
    bytes_per_s: float


async def measure(process: "asyncssh.SSHClientProcess[bytes]") -> Measured | None:
    """Measure a channel that asked for `wire.session.ECHO`; None for an older agent. Raises LinkLost."""
    clock, times_s = asyncio.get_running_loop().time, list[float]()
    for _ in range(ROUND_TRIPS):
        began_s = clock()
        process.stdin.write(b"\0")
        if await process.stdout.read(1) != b"\0":
            return None
        times_s.append(clock() - began_s)
    began_s, received = clock(), 0
    async with background_task(_send(process), "send to the agent"):
        with suppress(TimeoutError):
            async with asyncio.timeout(MEASURE_S):
                while data := await process.stdout.read(len(_PIECE)):
                    received += len(data)
                raise LinkLost("The link to the pod was lost while it was measured.")
    return Measured(statistics.median(times_s), received / (clock() - began_s))


async def _send(process: "asyncssh.SSHClientProcess[bytes]") -> None:
    while True:
        process.stdin.write(_PIECE)
        await process.stdin.drain()
