"""Datagrams and echo requests between the TUN and the agent: packets here, frames there."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ktpy.capture.spec import DatagramWay
from ktpy.packet import icmp, replies, udp
from ktpy.packet.datagram_flows import MAX_FLOWS, DatagramFlow, DatagramFlows, Path
from ktpy.packet.dispatch import Receiver
from ktpy.packet.flow_table import Answer, FlowTable
from ktpy.packet.headers import (
    IPV4_PLAIN,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    PROTOCOL_UDP,
    TCP4_OFFSET,
    TCP6_OFFSET,
    TUPLE4_OFFSET,
    TUPLE6_OFFSET,
    VNET_HEADER_BYTES,
    Drop,
)
from ktpy.packet.icmp import Echo, parse_echo
from ktpy.packet.stand_ins import StandIns
from ktpy.packet.udp import ANSWERS_PER_SECOND, UDP_HEADER_BYTES, Datagram, is_unicast, parse_datagram
from ktpy.wire.datagram import (
    BEAT,
    DATAGRAM,
    ECHO,
    FAILED,
    FORGET,
    NOWHERE,
    TAIL,
    Failure,
    Frame,
    dropped_in,
    mapped,
    unmapped,
)

_PROHIBITED: Final = {4: (3, 13), 6: (1, 1)}
"""Communication administratively prohibited, by IP version: what is sent for a socket too many."""
_HOST_UNREACHABLE: Final = {4: (3, 1), 6: (1, 3)}
_GSO_TYPE: Final = 1
_GSO_SIZE: Final = 4
"""Offsets in the virtio_net_hdr, which is in the machine's byte order: little-endian on all that ktpy runs on."""
_GSO_UDP_L4: Final = 5
"""VIRTIO_NET_HDR_GSO_UDP_L4 marks a bundle of datagrams of one size, but for the last."""
_ERRORS: Final = {4: frozenset({3, 11}), 6: frozenset({1, 3})}
"""ICMP types that are passed on: destination unreachable and time exceeded."""


@dataclass(slots=True)
class DatagramCounters:
    """DatagramCounters count datagrams and echoes; bytes are of payload."""

    flows: int = 0
    """Sockets of programs, since the start."""
    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    failed: int = 0
    """An ICMP error of the cluster was passed on."""
    full: int = 0
    """Refused, because there were too many flows."""
    unreachable: int = 0
    """Refused, because the connection for datagrams did not stand."""
    lost: int = 0
    """Dropped, because the tunnel was full."""
    lost_in_pod: int = 0
    """Dropped in the pod: the tunnel was full, or its network."""
    late: int = 0
    """Answers to a program whose flow is forgotten."""


class Datagrams:
    """A Datagrams has the receivers of UDP and ICMP for the dispatch. The pump calls `flush`, `deliver` and `tick`."""

    def __init__(
        self,
        table: FlowTable,
        way: DatagramWay,
        write: Callable[[bytes], None],
        stand_ins: StandIns | None = None,
        *,
        max_flows: int = MAX_FLOWS,
    ) -> None:
        """`table` knows which addresses are the TUN's own, and counts drops; `write` puts a packet into the TUN."""
        self.counters = DatagramCounters()
        self.receivers: dict[int, Receiver] = {
            PROTOCOL_UDP: self._receive_udp,
            PROTOCOL_ICMP: self._receive_echo,
            PROTOCOL_ICMPV6: self._receive_echo,
        }
        self._table = table
        self._way = way
        self._write = write
        self._stand_ins = stand_ins or StandIns()
        self._flows = DatagramFlows(max_flows)
        self._batch: list[bytes] = []
        self._batched_bytes = 0
        self._answers_left = ANSWERS_PER_SECOND
        self._dropped_in_pod = 0

    @property
    def open_flows(self) -> int:
        return len(self._flows)

    # --- from programs

    def _receive_udp(self, buffer: bytearray, length: int) -> Answer | None:
        key, start = b"", TCP4_OFFSET  # IP options, which nobody sends, are not looked up by a key
        if buffer[VNET_HEADER_BYTES] == IPV4_PLAIN:
            key = bytes(buffer[TUPLE4_OFFSET : TCP4_OFFSET + 4])
        elif buffer[VNET_HEADER_BYTES] >> 4 == 6:
            key, start = bytes(buffer[TUPLE6_OFFSET : TCP6_OFFSET + 4]), TCP6_OFFSET
        path = self._flows.paths.get(key)
        if path is None or length < start + UDP_HEADER_BYTES or not self._way.is_up:
            return self._receive_first(buffer, length, key)
        path.flow.is_active = True
        end = min(start + int.from_bytes(buffer[start + 4 : start + 6], "big"), length)
        start += UDP_HEADER_BYTES
        bundled_bytes = buffer[_GSO_SIZE] | buffer[_GSO_SIZE + 1] << 8 if buffer[_GSO_TYPE] == _GSO_UDP_L4 else 0
        for part in range(start, end, bundled_bytes) if bundled_bytes else (start,):
            self._append(path.tail, bytes(buffer[part : min(part + bundled_bytes, end) if bundled_bytes else end]))
        return None

    def _receive_first(self, buffer: bytearray, length: int, key: bytes) -> Answer | None:
        datagram = parse_datagram(buffer, length)
        if isinstance(datagram, Drop):
            return self._drop(datagram)
        flow = self._flow(DATAGRAM, datagram, datagram.source_port, buffer, length)
        if not isinstance(flow, DatagramFlow):
            return flow
        tail = TAIL.pack(DATAGRAM, flow.number, datagram.destination_port, self._target(datagram))
        if key:
            self._flows.add_path(key, Path(flow, tail))
            return self._receive_udp(buffer, length)
        self._append(tail, datagram.payload)
        return None

    def _receive_echo(self, buffer: bytearray, length: int) -> Answer | None:
        echo = parse_echo(buffer, length)
        if isinstance(echo, Drop):
            return self._drop(echo)
        flow = self._flow(ECHO, echo, echo.identifier, buffer, length)
        if not isinstance(flow, DatagramFlow):
            return flow
        self._append(TAIL.pack(ECHO, flow.number, echo.sequence, self._target(echo)), echo.payload)
        return None

    def _target(self, sent: Datagram | Echo) -> bytes:
        """Return whom the agent is to send it to."""
        return mapped(self._stand_ins.real(sent.destination))

    def _flow(
        self, kind: int, sent: Datagram | Echo, port: int, buffer: bytearray, length: int
    ) -> DatagramFlow | Answer | None:
        """Return the flow of what was sent, else what is answered, None when it is dropped."""
        if not any(sent.source) or self._table.is_own_network(sent.destination) or not is_unicast(sent.destination):
            return self._drop(Drop.UNSUPPORTED)
        if not self._way.is_up:
            self.counters.unreachable += 1
            return self._refuse(_HOST_UNREACHABLE, sent.destination, buffer, length)
        number_before = len(self._flows)
        flow = self._flows.flow_of(kind, sent.source, port)
        self.counters.flows += len(self._flows) - number_before
        if flow is None:
            self.counters.full += 1
            return self._refuse(_PROHIBITED, sent.destination, buffer, length)
        return flow

    def _refuse(
        self, codes: dict[int, tuple[int, int]], router: bytes, buffer: bytearray, length: int
    ) -> Answer | None:
        if self._answers_left == 0:
            return None
        self._answers_left -= 1
        return Answer(replies.icmp_error(*codes[4 if len(router) == 4 else 6], router, bytes(buffer[:length])))

    def _drop(self, reason: Drop) -> Answer | None:
        self._table.count_drop(reason)
        return None

    def _append(self, tail: bytes, payload: bytes) -> None:
        self._batch += (len(payload).to_bytes(2, "big"), tail, payload)
        self._batched_bytes += len(payload)

    def flush(self) -> None:
        """Send what has come since the last call. Call this after each turn of reading."""
        if not self._batch:
            return
        batch, count, size = self._batch, len(self._batch) // 3, self._batched_bytes
        self._batch, self._batched_bytes = [], 0
        if self._way.send(b"".join(batch)):
            self.counters.sent += count
            self.counters.sent_bytes += size
        else:
            self.counters.lost += count

    # --- from the agent

    def deliver(self, frames: Iterable[Frame]) -> None:
        """Put what the agent sent into the TUN. Frames of kinds unknown here are passed over."""
        for frame in frames:
            if frame.kind == BEAT:
                self._count_dropped(dropped_in(frame))
                continue
            flow = self._flows.by_number.get(frame.flow)
            if flow is None:
                self.counters.late += 1
            elif frame.kind == FAILED:
                self._deliver_failure(frame, flow)
            elif frame.kind == flow.kind:
                self._deliver_answer(frame, flow)

    def _count_dropped(self, count: int) -> None:
        """Take the agent's count, which begins anew with each connection."""
        if count < self._dropped_in_pod:
            self._dropped_in_pod = 0
        self.counters.lost_in_pod += count - self._dropped_in_pod
        self._dropped_in_pod = count

    def _deliver_answer(self, frame: Frame, flow: DatagramFlow) -> None:
        source = self._stand_ins.of(unmapped(frame.address))
        if len(source) != len(flow.address):
            return
        if frame.kind == ECHO:
            packet = icmp.reply_of(Echo(source, flow.address, flow.port, frame.port, frame.payload))
        else:
            packet = udp.packet_of(Datagram(source, flow.address, frame.port, flow.port, frame.payload))
        flow.is_active = flow.is_answered = True
        self.counters.received += 1
        self.counters.received_bytes += len(frame.payload)
        self._write(packet)

    def _deliver_failure(self, frame: Frame, flow: DatagramFlow) -> None:
        target, failure = self._stand_ins.of(unmapped(frame.address)), Failure.parse(frame.payload)
        router = target if failure.router == NOWHERE else self._stand_ins.of(unmapped(failure.router))
        is_passed_on = failure.type in _ERRORS[4 if len(flow.address) == 4 else 6]
        if not is_passed_on or not len(router) == len(target) == len(flow.address):
            return
        if flow.kind == ECHO:
            quoted = icmp.quoted(Echo(flow.address, target, flow.port, frame.port, b""))
        else:
            quoted = udp.quoted(Datagram(flow.address, target, flow.port, frame.port, b""))
        self.counters.failed += 1
        self._write(replies.icmp_error(failure.type, failure.code, router, quoted))

    def tick(self, now_s: float) -> None:
        """Forget the flows whose time has come. Call this once a second."""
        self._answers_left = ANSWERS_PER_SECOND
        over = [Frame(FORGET, number, 0, NOWHERE, b"").encoded() for number in self._flows.expire(now_s)]
        if over:
            self._way.send(b"".join(over))
