"""Datagrams travel over an SSH connection of their own, so that what else goes to the pod does not hold them up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from ktpy.errors import KtpyError, LinkLost
from ktpy.link.connection import AgentConnection
from ktpy.link.dial_policy import DialAgain, DialUntilUp
from ktpy.link.key import ClientKey
from ktpy.link.session import AgentCommand
from ktpy.link.uplink import AgentPod, Uplink
from ktpy.wire.datagram import COMMAND, Frame, FrameParser, beat
from ktpy.wire.pod import SESSION_BEAT_S
from ktpy.wire.session import AgentHello

TROUBLE_S: Final = 10.0

logger = logging.getLogger(__name__)

QUEUE_BYTES: Final = 1 << 20
"""More than this does not wait for the tunnel; it is dropped, as a full queue of a router does."""


class DatagramLink:
    """A DatagramLink holds the connection for datagrams while it is run, and dials again when it is lost."""

    def __init__(
        self,
        find_pod: Callable[[], Awaitable[AgentPod | None]],
        client_key: ClientKey,
        on_trouble: Callable[[KtpyError], None] = lambda _: None,
        on_traffic: Callable[[], None] = lambda: None,
    ) -> None:
        """`find_pod` is as an uplink's. `on_trouble` hears, once an outage, of what has kept it down for TROUBLE_S.

        `on_traffic` is called when something is sent or comes.
        """
        self._find_pod = find_pod
        self._client_key = client_key
        self._on_trouble, self._on_traffic = on_trouble, on_traffic
        self._down_since_s: float | None = None
        self._is_told = False
        self._connection: AgentConnection[AgentHello] | None = None
        self._uplink: Uplink[AgentHello] | None = None
        self._reader = FrameParser()
        self._waiting_bytes = 0
        self._early: list[bytes] | None = []
        """What is sent before the first connection waits for it; None from then on."""

    @property
    def is_up(self) -> bool:
        return self._connection is not None or self._early is not None

    def send(self, frames: bytes) -> bool:
        """Send whole frames; return False when there is no room for them, or no connection."""
        if self._connection is None:
            if self._early is None or sum(map(len, self._early)) > QUEUE_BYTES:
                return False
            self._early.append(frames)
            return True
        self._waiting_bytes = self._waiting_bytes + len(frames) if self._connection.link.congested else 0
        session = self._connection.session
        if max(self._waiting_bytes, session.unsent_bytes) > QUEUE_BYTES:
            return False
        session.write(frames)
        self._on_traffic()
        return True

    def lose(self, why: LinkLost) -> None:
        """Give up the connection that stands or is being opened."""
        if self._uplink is not None:
            self._uplink.lose(why)

    async def run(self, receive: Callable[[Iterable[Frame]], None]) -> None:
        """Carry datagrams until cancelled; `receive` gets what the agent sends, and raises ValueError for nonsense.

        Raises HostKeyMismatch.
        """
        policy = DialAgain(DialUntilUp(0), lambda: True, self._take_loss, self._take_failure)

        def on_data(data: bytes) -> None:
            self._on_traffic()
            receive(self._reader.feed(data))

        command = AgentCommand(COMMAND, AgentHello.parse, SESSION_BEAT_S, beat=beat(), on_data=on_data)
        self._uplink = uplink = Uplink(self._find_pod, self._client_key, command, policy, hold=self._hold)
        try:
            await uplink.run()
        finally:
            uplink.close()

    async def _hold(self, connection: AgentConnection[AgentHello]) -> LinkLost | None:
        self._connection, self._waiting_bytes, self._reader = connection, 0, FrameParser()
        self._down_since_s, self._is_told = None, False
        early, self._early = self._early, None
        for frames in early or ():
            self.send(frames)
        try:
            return await connection.wait_closed()
        finally:
            self._connection = None

    async def _take_loss(self, reason: LinkLost) -> None:
        logger.info("the connection for datagrams was lost: %s", reason)

    async def _take_failure(self, error: KtpyError) -> None:
        logger.info("the connection for datagrams could not be opened: %s", error)
        self._early = None
        now_s = asyncio.get_running_loop().time()
        self._down_since_s = self._down_since_s or now_s
        if now_s - self._down_since_s >= TROUBLE_S and not self._is_told:
            self._is_told = True
            self._on_trouble(error)
