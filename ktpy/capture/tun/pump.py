"""The pump moves packets between the TUN's descriptor and the flow table, and dials for new flows."""

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ktpy.capture.spec import DatagramWay, Traffic
from ktpy.capture.tun.datagrams import Datagrams
from ktpy.capture.tun.kernel_flows import KernelFlows
from ktpy.capture.tun.packet_tap import PacketTap
from ktpy.capture.tun.relay import Dial, FarEnd, Relay, TunAddress
from ktpy.errors import TunUnavailable
from ktpy.observe.counters import CounterReaders, numbers
from ktpy.packet.dispatch import Dispatch
from ktpy.packet.flow import Flow, Hairpin, State
from ktpy.packet.flow_table import Answer, FlowCounters, FlowTable
from ktpy.packet.fragments import Reassembly
from ktpy.packet.headers import PROTOCOL_UDP, VNET_HEADER_BYTES
from ktpy.packet.packet_filter import Address, Matches
from ktpy.packet.stand_ins import StandIns
from ktpy.packet.udp import UdpRefusal
from ktpy.wire.datagram import Frame

PACKET_BYTES: Final = VNET_HEADER_BYTES + 65536
"""virtio_net_hdr and the largest packet a TUN with segmentation offload hands over."""
BATCH_PACKETS: Final = 256
"""This many packets are moved in one turn of the event loop. A turn's TLS and SSH input is megabytes: with 64
packets a turn, a download waited for the TUN to be emptied while the processor idled."""
TURN_S: Final = 0.004
"""Nor does a turn take longer than this: on a busy machine 20 packets have taken 40 ms, for which datagrams waited."""
BACKLOG_PACKETS: Final = 1024
"""This many packets may wait while the TUN takes none. Nothing is read meanwhile, so only answers to dials add up."""
TICK_S: Final = 1.0
FAREWELL_S: Final = 1.0
"""Closing waits this long for the last resets to pass."""
REJECTED: Final = frozenset({errno.EINVAL, errno.ENOBUFS, errno.ENOMEM})
"""Errors of a write that are about the one packet, not about the device."""
UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})


@dataclass(slots=True)
class PacketCounters:
    """PacketCounters count what went through the TUN's descriptor; bytes are without the virtio_net_hdr."""

    read_packets: int = 0
    read_bytes: int = 0
    written_packets: int = 0
    written_bytes: int = 0
    lost_packets: int = 0
    """The kernel rejected them, or the backlog was full. TCP repeats them."""


class Pump:
    """A Pump connects the apps behind a TUN to what `dial` reaches, until the TUN is gone or `aclose` is called."""

    def __init__(
        self,
        tun_fd: int,
        relay: Relay,
        table: FlowTable,
        peers: Collection[Address],
        flows: dict[int, Flow],
        dial: Dial,
        dial_timeout_s: float,
        max_dials: int,
        way: DatagramWay | None,
        on_udp: Callable[[bytes, int], None],
        until_up: Callable[[], Awaitable[object]],
        stand_ins: StandIns,
        kernel_flows: KernelFlows | None,
    ) -> None:
        self._tun_fd = tun_fd
        self._relay = relay
        self._table = table
        self._peers = peers
        self._udp = UdpRefusal(table, on_udp)
        self._reassembly = Reassembly()
        self.datagrams = Datagrams(table, way, self._write, stand_ins) if way else None
        """None where they are refused."""
        receivers = self.datagrams.receivers if self.datagrams else {PROTOCOL_UDP: self._udp.receive}
        self._dispatch = Dispatch(table, receivers, self._reassembly if self.datagrams else None)
        self._flows = flows
        self._dial, self._until_up, self._stand_ins = dial, until_up, stand_ins
        self._dial_timeout_s = dial_timeout_s
        self._dial_slots = asyncio.Semaphore(max_dials)
        self._dials: set[asyncio.Task[None]] = set()
        self._buffer = bytearray(PACKET_BYTES)
        self._readv: Callable[[int, list[bytearray]], int] = os.readv
        self._write_fd: Callable[[int, bytes | memoryview], int] = os.write
        self._taps: tuple[PacketTap, ...] = ()
        self._kernel_flows = kernel_flows
        self._backlog: deque[bytes] = deque()
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._closing = False
        self.packets = PacketCounters()
        loop.add_reader(tun_fd, self._drain)
        self._tick = loop.call_later(TICK_S, self._on_tick)

    @classmethod
    async def start(
        cls,
        tun_fd: int,
        addresses: Sequence[TunAddress],
        dial: Dial,
        *,
        dial_timeout_s: float = 10.0,
        max_dials: int = 256,
        max_flows: int = 16384,
        linger_s: float = 2.0,
        way: DatagramWay | None = None,
        on_udp: Callable[[bytes, int], None] = lambda _address, _port: None,
        until_up: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0),
        acceptors: Sequence[socket.socket] = (),
        stand_ins: StandIns | None = None,
        flow_map: int | None = None,
    ) -> "Pump":
        """Bind the acceptor and begin to move packets. The TUN's addresses must be set by then.

        Datagrams go over `way`, whose answers `deliver` takes. Without one they are refused, and `on_udp` is called
        with where the first one goes, packed address and port.
        `until_up` waits until the link stands: a new flow waits that long, but no longer than `dial_timeout_s`.
        `acceptors` are sockets bound to the addresses where this process cannot bind them.
        What is sent to one of `stand_ins` goes to the address that it stands in for, from which the answer comes back.
        `tun_fd` is non-blocking, with IFF_VNET_HDR and its offloads set. Data of connections need not come by it where
        there is a `flow_map`, by which the kernel turns it round itself. Both stay the caller's to close.
        """
        flows: dict[int, Flow] = {}

        def release(port: int) -> None:
            table.release(flows.pop(port), time.monotonic())

        relay = Relay(addresses, release)
        ports = await relay.listen(acceptors)
        kernel_flows = None if flow_map is None else KernelFlows(flow_map)
        table = FlowTable(
            [
                Hairpin(ip_address(address.own).packed, ip_address(address.peer).packed, port)
                for address, port in zip(addresses, ports, strict=True)
            ],
            max_flows=max_flows,
            linger_s=linger_s,
            bypass=kernel_flows,
        )
        peers = [ip_address(address.peer) for address in addresses]
        return cls(
            tun_fd,
            relay,
            table,
            peers,
            flows,
            dial,
            dial_timeout_s,
            max_dials,
            way,
            on_udp,
            until_up,
            stand_ins or StandIns(),
            kernel_flows,
        )

    @property
    def traffic(self) -> Traffic:
        return self._relay.traffic

    @property
    def flows(self) -> FlowCounters:
        return self._table.counters

    def counter_readers(self) -> CounterReaders:
        readers: CounterReaders = {"packets": lambda: numbers(self.packets), "flows": lambda: numbers(self.flows)}
        if (carried := self.datagrams) is not None:
            readers["datagrams"] = lambda: numbers(carried.counters)
        return readers

    @property
    def datagram_flows(self) -> int:
        return self.datagrams.open_flows if self.datagrams else 0

    @property
    def open_flows(self) -> int:
        return len(self._flows)

    async def wait_closed(self) -> None:
        """Return after `aclose`. Raises TunUnavailable as soon as the TUN is gone."""
        await asyncio.shield(self._ended)

    async def aclose(self) -> None:
        """Reset every connection, and stop once the apps have got the resets. The TUN may be closed then."""
        self._closing = True
        dials = list(self._dials)
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        flows = list(self._flows.values())
        self._relay.abort_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                # A reset counts once it has passed the TUN; the kernel sends it, so no event tells.
                while self._flows or not (  # noqa: ASYNC110
                    self._ended.done() or all(flow.finished for flow in flows)
                ):
                    await asyncio.sleep(0.005)
        self._relay.close()
        if not self._ended.done():
            self._stop()
            self._ended.set_result(None)

    def _stop(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._tun_fd)
        loop.remove_writer(self._tun_fd)
        self._tick.cancel()

    def _fail(self, error: OSError) -> None:
        if self._ended.done():
            return
        self._stop()
        gone = TunUnavailable(
            f"The TUN device is gone ({error.strerror}), so ktpy stops.",
            hint="Something removed the network interface. Run `ktpy connect` again.",
        )
        gone.__cause__ = error
        self._ended.set_exception(gone)
        self._ended.exception()  # the caller may prefer not to wait for it

    def deliver(self, frames: Iterable[Frame]) -> None:
        """Put into the TUN what the agent sent. Raises ValueError for what is no answer."""
        if self.datagrams and not self._ended.done():
            self.datagrams.deliver(frames)

    @contextlib.contextmanager
    def tapped(self, matches: Matches, snapshot_bytes: int) -> Iterator[PacketTap]:
        """Show what matches to a tap while the body runs. While there is none, it costs nothing.

        Every packet comes by the TUN meanwhile.
        """
        tap = PacketTap(matches, snapshot_bytes, self._peers)
        self._show_to(*self._taps, tap)
        try:
            yield tap
        finally:
            self._show_to(*(one for one in self._taps if one is not tap))

    def _show_to(self, *taps: PacketTap) -> None:
        if self._kernel_flows and not self._taps and taps:
            self._kernel_flows.pause()
        elif self._kernel_flows and self._taps and not taps:
            self._kernel_flows.resume()
        self._taps = taps
        self._readv, self._write_fd = (self._readv_tapped, self._write_tapped) if taps else (os.readv, os.write)

    def _readv_tapped(self, fd: int, vector: list[bytearray]) -> int:
        length = os.readv(fd, vector)
        for tap in self._taps:
            tap.see(memoryview(vector[0])[:length], is_sent=True)
        return length

    def _write_tapped(self, fd: int, packet: bytes | memoryview) -> int:
        length = os.write(fd, packet)
        for tap in self._taps:
            tap.see(packet, is_sent=False)
        return length

    def _drain(self) -> None:
        """Move up to BATCH_PACKETS packets, for TURN_S at most."""
        self._drain_batch()
        if self.datagrams:
            self.datagrams.flush()

    def _drain_batch(self) -> None:
        """Read packets, rewrite each in place, and write it back."""
        fd, buffer, rewrite, read, write = self._tun_fd, self._buffer, self._table.rewrite, self._readv, self._write_fd
        view, vector, packets, clock = memoryview(buffer), [buffer], self.packets, time.monotonic
        ends_s = clock() + TURN_S
        for number in range(BATCH_PACKETS):
            if number and clock() > ends_s:
                return
            try:
                length = read(fd, vector)
            except BlockingIOError:
                return
            except OSError as exc:
                self._fail(exc)
                return
            packets.read_packets += 1
            packets.read_bytes += length - VNET_HEADER_BYTES
            if rewrite(buffer, length):
                try:
                    write(fd, view[:length])
                except OSError:
                    self._write(bytes(view[:length]))  # which knows what to do about it
                    if self._backlog or self._ended.done():
                        return
                    continue
                packets.written_packets += 1
                packets.written_bytes += length - VNET_HEADER_BYTES
                continue
            event = self._dispatch.receive(buffer, length)
            if isinstance(event, Answer):
                self._write(event.packet)
            elif event is not None:
                self._begin(event.flow)

    def _write(self, packet: bytes) -> None:
        """Write a packet after those that wait already. Nothing is read while any waits."""
        if self._ended.done() or (not self._backlog and self._try_write(packet)):
            return
        if len(self._backlog) >= BACKLOG_PACKETS:
            self.packets.lost_packets += 1
            return
        if not self._backlog:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._tun_fd)
            loop.add_writer(self._tun_fd, self._flush)
        self._backlog.append(packet)

    def _flush(self) -> None:
        while self._backlog:
            if not self._try_write(self._backlog[0]):
                return
            self._backlog.popleft()
        if not self._ended.done():
            loop = asyncio.get_running_loop()
            loop.remove_writer(self._tun_fd)
            loop.add_reader(self._tun_fd, self._drain)

    def _try_write(self, packet: bytes) -> bool:
        """Return False when the TUN takes no packets now, True when there is nothing left to do about this one."""
        try:
            self._write_fd(self._tun_fd, packet)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno in REJECTED:
                self.packets.lost_packets += 1
            else:
                self._fail(exc)
        else:
            self.packets.written_packets += 1
            self.packets.written_bytes += len(packet) - VNET_HEADER_BYTES
        return True

    def _begin(self, flow: Flow) -> None:
        if self._closing:
            self._write(self._table.refuse(flow))
            return
        task = asyncio.get_running_loop().create_task(self._connect(flow), name=f"dial {flow.port}")
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _connect(self, flow: Flow) -> None:
        """Dial the far side, then let the held SYN through or answer it as the far side would have."""
        far = FarEnd(self._relay, flow.port)
        try:
            async with asyncio.timeout(self._dial_timeout_s):
                await self._until_up()
            async with self._dial_slots, asyncio.timeout(self._dial_timeout_s):
                host, port = flow.destination
                await self._dial(lambda: far, self._stand_ins.real_host(host), port)
        except TimeoutError:
            self._write(self._table.unreachable(flow))
        except OSError as exc:
            deny = self._table.unreachable if exc.errno in UNREACHABLE else self._table.refuse
            self._write(deny(flow))
        else:
            self._flows[flow.port] = flow
            self._relay.expect(far, time.monotonic())
            self._write(self._table.admit(flow))
        finally:
            if flow.state is State.DIALLING:  # cancelled, or a mistake in `dial`: the app must not be left waiting
                self._write(self._table.refuse(flow))

    def _on_tick(self) -> None:
        """See, once a second, to what no packet and no socket tells by itself."""
        now_s = time.monotonic()
        for flow in self._table.take_resets():
            self._relay.abort(flow.port)
        self._relay.expire(now_s)
        self._table.expire(now_s)
        self._udp.renew()
        self._reassembly.expire()
        if self.datagrams:
            self.datagrams.tick(now_s)
        self._tick = asyncio.get_running_loop().call_later(TICK_S, self._on_tick)
