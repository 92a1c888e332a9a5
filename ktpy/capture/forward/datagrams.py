"""UDP ports of `ktpy forward`: each client's socket is one in the pod, as long as it is used."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final, cast

from ktpy.capture.forward.forwards import Forward
from ktpy.capture.spec import DatagramWay
from ktpy.dns.forward import NoAnswerError
from ktpy.dns.lookup import ClusterLookup
from ktpy.errors import KtpyError
from ktpy.wire.datagram import DATAGRAM, FORGET, NOWHERE, Frame, mapped

logger = logging.getLogger(__name__)

IDLE_S: Final = 120.0
"""As Linux's conntrack forgets a flow that was answered."""
FLOWS_MAX: Final = 1024
"""Of all ports; a datagram of one more client is dropped."""
WAITING_MAX: Final = 64
"""So many datagrams wait for the address of where they go; more are dropped."""

_ClientName = tuple[str, int]


class DatagramForwards:
    """A DatagramForwards numbers the flows of all ports."""

    def __init__(
        self,
        way: DatagramWay,
        lookup: "asyncio.Future[ClusterLookup]",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._way, self._lookup, self._clock = way, lookup, clock
        self._flows: dict[int, _ForwardedFlow] = {}
        self._last = 0
        self._ports: list[_DatagramPort] = []
        self.dropped = 0
        """Datagrams that have not been sent on."""

    @property
    def open_flows(self) -> int:
        return len(self._flows)

    async def serve(self, forward: Forward) -> None:
        """Carry what comes to a port from now on."""
        port = _DatagramPort(self, forward)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: port, sock=forward.own)
        self._ports.append(port)

    def deliver(self, frames: Iterable[Frame]) -> None:
        """Pass on what the agent sent; what was refused is silence to a client whose target is ktpy's port."""
        for frame in frames:
            if frame.kind == DATAGRAM and (flow := self._flows.get(frame.flow)) is not None:
                flow.used_s = self._clock()
                flow.port.answer(flow.client, frame.payload)

    def close(self) -> None:
        for port in self._ports:
            port.close()

    async def open(self, port: "_DatagramPort", client: _ClientName) -> "_ForwardedFlow | None":
        """Find where a client's datagrams go; None where nobody is there, and where there are too many flows."""
        self._forget_idle()
        try:
            addresses = await port.forward.find(self._lookup.result())
        except (NoAnswerError, KtpyError) as error:
            logger.info("a datagram for %s: %s", port.forward.target, error)
            return None
        if not addresses or len(self._flows) >= FLOWS_MAX:
            return None
        self._last = self._last % 0xFFFFFFFF + 1
        flow = _ForwardedFlow(self._last, mapped(ip_address(addresses[0]).packed), port, client, self._clock())
        self._flows[flow.number] = flow
        return flow

    def send(self, flow: "_ForwardedFlow", payload: bytes) -> None:
        flow.used_s = self._clock()
        frame = Frame(DATAGRAM, flow.number, flow.port.forward.port, flow.address, payload)
        self.dropped += not self._way.send(frame.encoded())

    def _forget_idle(self) -> None:
        before_s = self._clock() - IDLE_S
        for flow in [flow for flow in self._flows.values() if flow.used_s < before_s]:
            del self._flows[flow.number]
            flow.port.forget(flow.client)
            self._way.send(Frame(FORGET, flow.number, 0, NOWHERE, b"").encoded())


class _ForwardedFlow:
    """A _ForwardedFlow is the socket in the pod of one client's."""

    def __init__(self, number: int, address: bytes, port: "_DatagramPort", client: _ClientName, used_s: float) -> None:
        self.number, self.address, self.port, self.client, self.used_s = number, address, port, client, used_s


class _DatagramPort(asyncio.DatagramProtocol):
    """A _DatagramPort holds what its clients send before it is known where that goes."""

    def __init__(self, forwards: DatagramForwards, forward: Forward) -> None:
        self.forward = forward
        self._forwards = forwards
        self._transport: asyncio.DatagramTransport | None = None
        self._flows: dict[_ClientName, _ForwardedFlow] = {}
        self._waiting: dict[_ClientName, list[bytes]] = {}
        self._opening: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if (flow := self._flows.get(addr)) is not None:
            self._forwards.send(flow, data)
        elif sum(map(len, self._waiting.values())) >= WAITING_MAX:
            self._forwards.dropped += 1
        else:
            self._waiting.setdefault(addr, []).append(data)
            if len(self._waiting[addr]) == 1:
                task = asyncio.get_running_loop().create_task(self._open(addr), name="open datagram flow")
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)

    async def _open(self, client: _ClientName) -> None:
        flow = await self._forwards.open(self, client)
        waiting = self._waiting.pop(client)
        if flow is None:
            self._forwards.dropped += len(waiting)
            return
        self._flows[client] = flow
        for payload in waiting:
            self._forwards.send(flow, payload)

    def answer(self, client: _ClientName, payload: bytes) -> None:
        if self._transport is not None:
            with suppress(OSError):
                self._transport.sendto(payload, client)

    def forget(self, client: _ClientName) -> None:
        self._flows.pop(client, None)

    def close(self) -> None:
        for task in self._opening:
            task.cancel()
        if self._transport is not None:
            self._transport.abort()
