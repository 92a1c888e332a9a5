"""A port of this laptop, or next to it, that requests from the cluster go to, and whether a program serves it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from ktpy.link.taps import Taps
from ktpy.serve.listeners import is_listened_on
from ktpy.wire.route import TCP

P = TypeVar("P", bound=asyncio.Protocol)

PROBE_INTERVAL_S = 0.25
CONNECT_TIMEOUT_S = 2.0
FULL_BACKLOG_ATTEMPTS = 60
"""A request is given up after so many times CONNECT_TIMEOUT_S, about as long as the kernel tries (tcp(7))."""
LIFE_S = 0.1
"""A connection that nobody has ended after this time lives."""
ELSEWHERE_INTERVAL_S = 1.0
LOOPBACKS = ("127.0.0.1", "::1")
PRIVILEGED_BELOW = 1024


class WatchedPort(ABC):
    """A WatchedPort is up or down, as `probe` finds out."""

    protocol = TCP

    def __init__(
        self,
        number: int,
        on_change: Callable[[], None] = lambda: None,
        *,
        host: str | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """`on_change` is called when what the port is changes. Before the first probe it counts as down.

        `host` is where the port is, if not on a loopback address. A port that was up is awaited for `patience_s`.
        """
        self.number = number
        self.host = host
        self.taps = Taps()
        self.waiting = 0
        """How many connections wait for the port now."""
        self.waited = 0
        """How many have waited since it was up the last time."""
        self.shortcuts = 0
        """How many connections have come past the cluster."""
        self._patience_s = patience_s
        self._giving_up: asyncio.TimerHandle | None = None
        self.closes = False
        """Whether the port is down because it accepts connections and closes them at once."""
        self._on_change = on_change
        self._addresses = (host,) if host else LOOPBACKS
        self._up, self._down, self._settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._give_up()

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    @property
    def is_privileged(self) -> bool:
        """Whether a program needs root, or a capability, to serve it."""
        return self.number < PRIVILEGED_BELOW and self.host is None

    @property
    def is_awaited(self) -> bool:
        """Whether the port is down, and a program may yet come back in time."""
        return not self._settled.is_set()

    def __str__(self) -> str:
        kind = "" if self.protocol == TCP else f"{self.protocol} "
        return f"local {kind}port {self.number}" if self.host is None else f"{kind}port {self.number} of {self.host}"

    @abstractmethod
    async def probe(self) -> bool:
        """Find out once whether the port is up."""

    async def watch(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_INTERVAL_S if self.host is None else ELSEWHERE_INTERVAL_S)

    async def wait_up(self) -> None:
        await self._up.wait()

    async def wait_down(self) -> None:
        """Wait until the port is down, and not awaited."""
        await self._down.wait()

    def _tell(self, *, is_up: bool, closes: bool = False) -> None:
        if (is_up, closes) == (self.is_up, self.closes):
            return
        was_up = self.is_up
        self.closes = closes
        if is_up:
            if self._giving_up is not None:
                self._giving_up.cancel()
            self._down.clear()
            self._up.set()
            self._settled.set()
        elif was_up:
            self._up.clear()
            self.waited = 0
            if self._patience_s:
                self._settled.clear()
                self._giving_up = asyncio.get_running_loop().call_later(self._patience_s, self._note_given_up)
            else:
                self._give_up()
        self._on_change()

    def _note_given_up(self) -> None:
        self._give_up()
        self._on_change()

    def _give_up(self) -> None:
        self._down.set()
        self._settled.set()


class LocalPort(WatchedPort):
    """A LocalPort is up while a program listens on it, however slow that is.

    No connection is made to find out, but where the kernel knows of no listener (a packet filter may lead elsewhere),
    and where connections were closed before a byte of answer, as forwarders do whose application is down.

    Of a port on another host (a container, a virtual machine) the kernel does not know: it is down until a connection
    is taken, tried once a second, and up until one is refused; while it is up no connection is made but for requests.
    """

    _judging: asyncio.Task[None] | None = None

    async def probe(self) -> bool:
        if self.closes:
            return await self.doubt()
        if self._is_listened_on() or (self.host and self.is_up):
            self._tell(is_up=True)
            return True
        try:
            transport, _ = await self.connect(asyncio.Protocol)
        except OSError:
            return False
        transport.close()
        return True

    async def connect(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        """Connect by IPv4 or IPv6, first by the one that answered last. Raises OSError when the port is down."""
        try:
            pair = await self._dial(protocol_factory)
        except OSError:
            self._tell(is_up=False)
            raise
        if not self.closes:
            self._tell(is_up=True)
        return pair

    async def doubt(self) -> bool:
        """Find out by a connection whether the port closes it at once; return whether the port is up."""
        if self._judging is None or self._judging.done():
            self._judging = asyncio.get_running_loop().create_task(self._judge(), name=f"judge port {self.number}")
        await asyncio.shield(self._judging)
        return self.is_up

    async def settle(self) -> bool:
        """Wait as long as the port is awaited; return whether it is up then."""
        self.waiting += 1
        self.waited += 1
        self._on_change()
        try:
            await self._settled.wait()
        finally:
            self.waiting -= 1
        return self.is_up

    async def _dial(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        refusal: OSError | None = None
        for address in self._addresses:
            try:
                pair = await self._dial_address(protocol_factory, address)
            except OSError as exc:
                refusal = refusal or exc
                continue
            if address != self._addresses[0]:
                self._addresses = self._addresses[::-1]
            return pair
        assert refusal is not None  # noqa: S101 - there are addresses
        raise refusal

    async def _dial_address(self, protocol_factory: Callable[[], P], address: str) -> tuple[asyncio.Transport, P]:
        """Wait for a listener whose backlog is full, as that of a paused program."""
        for _ in range(FULL_BACKLOG_ATTEMPTS):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    return await asyncio.get_running_loop().create_connection(protocol_factory, address, self.number)
            except TimeoutError:
                if not self._is_listened_on():
                    raise
        raise TimeoutError

    async def _judge(self) -> None:
        reader = asyncio.StreamReader()
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(LIFE_S):
                transport, _ = await self._dial(lambda: asyncio.StreamReaderProtocol(reader))
                lives = bool(await reader.read(1))
        except TimeoutError:
            lives = True
        except OSError:
            lives = False
        finally:
            if transport is not None:
                transport.close()
        self._tell(is_up=lives, closes=not lives and transport is not None)

    def _is_listened_on(self) -> bool:
        try:
            return self.host is None and is_listened_on(self.number)
        except OSError:  # the kernel does not tell
            return False
