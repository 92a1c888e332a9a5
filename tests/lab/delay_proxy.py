"""A TCP proxy before the API server that makes it far away: each direction is delayed by half the round trip.

It adds latency and nothing else: no loss, no cap on the bandwidth (up to LIMIT_BYTES under way per direction: enough
for 6 Gbit/s at 80 ms). New connections of the laptop are redirected to it on the node; those that are open stay as
they are. SIGHUP makes it read the round trip again; at zero it takes no new connections and ends with its last one.

usage: python -m tests.lab.delay_proxy NAME
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
from pathlib import Path

from tests.lab import cgroup, namespaces
from tests.lab.delay_line import DelayLine
from tests.lab.layout import API_PORT, DELAY_PROXY_PORT, Layout
from tests.lab.processes import ProcessRecord

READY = "delay proxy listens"
LIMIT_BYTES = 64 * 1024 * 1024
END_OF_STREAM = b""


def record_file(layout: Layout) -> Path:
    return layout.run_dir / "delay-proxy"


def round_trip_file(layout: Layout) -> Path:
    """The round trip in milliseconds; absent means none."""
    return layout.run_dir / "round-trip-ms"


def round_trip_ms(layout: Layout) -> int:
    try:
        return int(round_trip_file(layout).read_text())
    except FileNotFoundError:
        return 0


class Leg(asyncio.Protocol):
    """One side of a proxied connection: what it reads reaches `peer` later."""

    def __init__(self, proxy: "DelayProxy", not_before: float = 0.0) -> None:
        self._proxy = proxy
        self._not_before = not_before
        self._line = DelayLine(LIMIT_BYTES)
        self._timer: asyncio.TimerHandle | None = None
        self._peer_is_full = False
        self._has_delivered_end = False
        self.transport: asyncio.Transport | None = None
        self.peer: Leg | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream was asked for")
        self.transport = transport
        self._proxy.legs.add(self)

    def data_received(self, data: bytes) -> None:
        now = self._proxy.loop.time()
        self._line.put(data, max(now, self._not_before) + self._proxy.one_way_s)
        if self._line.is_full and self.transport is not None:
            self.transport.pause_reading()
        self._pump()

    def eof_received(self) -> bool:
        self._line.put(END_OF_STREAM, self._proxy.loop.time() + self._proxy.one_way_s)
        self._pump()
        return True  # the other direction goes on

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.legs.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self._proxy.loop.call_later(self._proxy.one_way_s, _reset, self.peer.transport)  # it travels too
        self._proxy.leg_gone()

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer._peer_is_full = True

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer._peer_is_full = False
            self.peer._pump()

    def join(self, peer: "Leg") -> None:
        self.peer, peer.peer = peer, self
        self._pump()
        peer._pump()

    def _pump(self) -> None:
        """Hand over what is due; come back when the next is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop, peer = self._proxy.loop, self.peer
        if peer is None or peer.transport is None:
            return
        while not self._peer_is_full:
            chunk = self._line.take_due(loop.time())
            if chunk is None:
                break
            if chunk == END_OF_STREAM:
                self._deliver_end(peer)
            else:
                peer.transport.write(chunk)
        if self.transport is not None and not self._line.is_full and not self.transport.is_closing():
            self.transport.resume_reading()
        if self._line.next_due is not None and not self._peer_is_full:
            self._timer = loop.call_at(self._line.next_due, self._pump)

    def _deliver_end(self, peer: "Leg") -> None:
        """Half-close the other side; close both when both directions have ended."""
        self._has_delivered_end = True
        if self.transport is None or peer.transport is None:
            return
        if peer._has_delivered_end:
            peer.transport.close()
            self.transport.close()
        else:
            try:
                peer.transport.write_eof()
            except OSError:  # reset meanwhile, and nobody reads there any more to notice
                _reset(peer.transport)


def _reset(transport: asyncio.Transport) -> None:
    """Close by RST: a plain abort sends a FIN, which says that all is well."""
    connection = transport.get_extra_info("socket")
    if not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class DelayProxy:
    """Listens, pairs each accepted connection with one to the server, delays what passes."""

    def __init__(self, server_address: tuple[str, int], round_trip_s: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.legs: set[Leg] = set()
        self.one_way_s = round_trip_s / 2
        self._server_address = server_address
        self._listener: asyncio.Server | None = None
        self._dials: set[asyncio.Task[None]] = set()
        self._finished = asyncio.Event()

    async def listen(self, host: str | None, port: int) -> int:
        """Start accepting; returns the port."""
        self._listener = await self.loop.create_server(self._accept, host, port, reuse_address=True)
        return int(self._listener.sockets[0].getsockname()[1])

    def set_round_trip(self, round_trip_s: float) -> None:
        """From now on; zero also ends the listening, and the proxy with its last connection."""
        self.one_way_s = round_trip_s / 2
        if round_trip_s == 0 and self._listener is not None:
            self._listener.close()
            self._listener = None
        self.leg_gone()

    async def wait_finished(self) -> None:
        await self._finished.wait()

    def leg_gone(self) -> None:
        if self._listener is None and not self.legs:
            self._finished.set()

    def _accept(self) -> Leg:
        # The client's handshake with the proxy took no time: what it sends is held back for the round trip it would
        # have taken. The connection to the server is made meanwhile.
        leg = Leg(self, not_before=self.loop.time() + 2 * self.one_way_s)
        task = self.loop.create_task(self._dial(leg), name="dial the API server")
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        return leg

    async def _dial(self, client: Leg) -> None:
        try:
            _, server = await self.loop.create_connection(lambda: Leg(self), *self._server_address)
        except OSError:
            if client.transport is not None:
                _reset(client.transport)
            return
        client.join(server)
        if client.transport is not None and client.transport.is_closing() and server.transport is not None:
            _reset(server.transport)  # the client left while the server was dialled


async def run(layout: Layout) -> None:
    proxy = DelayProxy(("127.0.0.1", API_PORT), round_trip_ms(layout) / 1000)
    loop = asyncio.get_running_loop()

    def reread() -> None:
        milliseconds = round_trip_ms(layout)
        proxy.set_round_trip(milliseconds / 1000)
        if milliseconds == 0:
            record_file(layout).unlink(missing_ok=True)  # who wants latency again starts another proxy

    loop.add_signal_handler(signal.SIGHUP, reread)
    await proxy.listen(None, DELAY_PROXY_PORT)
    ProcessRecord.of(os.getpid()).write(record_file(layout))
    print(READY, flush=True)
    await proxy.wait_finished()


def main(name: str) -> None:
    layout = Layout(name)
    cgroup.ControlGroups.read(layout.cgroups_file).join("laptop")
    namespaces.setns(layout.node_netns_path)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(layout))


if __name__ == "__main__":
    main(sys.argv[1])
