"""A port of this laptop that requests from the cluster go to, and whether a program answers on it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

P = TypeVar("P", bound=asyncio.Protocol)

PROBE_INTERVAL_S = 0.25
CONNECT_TIMEOUT_S = 2.0
"""A listener on loopback that takes longer does not accept: its backlog is full."""
LOOPBACKS = ("127.0.0.1", "::1")
PRIVILEGED_BELOW = 1024


class LocalPort:
    """A LocalPort is up or down as the last connection to it showed, which was a probe or a request's."""

    def __init__(self, number: int, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called when the port starts or stops answering. Before the first probe it counts as down."""
        self.number = number
        self._on_change = on_change
        self._addresses = LOOPBACKS
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._down.set()

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    async def watch(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def probe(self) -> bool:
        """Connect once and let go."""
        try:
            transport, _ = await self.connect(asyncio.Protocol)
        except OSError:
            return False
        transport.close()
        return True

    async def connect(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        """Connect by IPv4 or IPv6, first by the one that answered last. Raises OSError when it is down."""
        refusal: OSError | None = None
        for address in self._addresses:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    pair = await asyncio.get_running_loop().create_connection(protocol_factory, address, self.number)
            except OSError as exc:  # TimeoutError is one
                refusal = refusal or exc
                continue
            if address != self._addresses[0]:
                self._addresses = self._addresses[::-1]
            self._tell(self._up, self._down)
            return pair
        self._tell(self._down, self._up)
        assert refusal is not None  # noqa: S101 - there are addresses
        raise refusal

    async def wait_up(self) -> None:
        await self._up.wait()

    async def wait_down(self) -> None:
        await self._down.wait()

    def _tell(self, now: asyncio.Event, before: asyncio.Event) -> None:
        if not now.is_set():
            before.clear()
            now.set()
            self._on_change()
