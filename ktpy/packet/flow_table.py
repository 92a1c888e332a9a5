"""The flow table turns every TCP packet of the TUN round to a local acceptor and back (hairpin NAT), without I/O.

The caller reads a packet into a buffer, calls `FlowTable.rewrite`, and for what is of no known flow does what
`Dispatch.receive` returns. The kernel terminates TCP; here only headers change. A flow's first SYN is held until the
caller has dialled the far side and calls `admit`, `refuse` or `unreachable`.
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ktpy.packet import replies
from ktpy.packet.flow import RESET, Bypass, Flow, Hairpin, NoBypass, Rewrite, State
from ktpy.packet.headers import (
    ACK,
    FIN,
    FRAGMENT_MASK,
    IPV4_PLAIN,
    NEEDS_CSUM,
    PROTOCOL_TCP,
    RST,
    SYN,
    TCP4_OFFSET,
    TCP6_OFFSET,
    TCP_HEADER_BYTES,
    TUPLE4_BYTES,
    Drop,
    Segment,
    parse_segment,
)

LINGER_S: Final = 2.0
"""A finished flow stays this long, so that a late retransmission of its last segments is still rewritten."""
QUIET_S: Final = 130.0
"""A released but unfinished flow may be silent this long: just over Linux's longest retransmission and zero-window
probe interval (TCP_RTO_MAX, 120 s), so that an app that reads slowly gets every byte."""
PORTS: Final = range(1024, 65536)


@dataclass(frozen=True, slots=True)
class NewFlow:
    """A NewFlow's SYN is held: dial `flow.destination`, then `admit`, `refuse` or `unreachable` it."""

    flow: Flow


@dataclass(frozen=True, slots=True)
class Answer:
    """An Answer is a packet to be written."""

    packet: bytes


@dataclass(slots=True)
class FlowCounters:
    """FlowCounters count what the table did since its start."""

    flows: int = 0
    admitted: int = 0
    bypassing: int = 0
    """Of these, so many have all but their first and last packets rewritten by the kernel."""
    refused: int = 0
    unreachable: int = 0
    full: int = 0
    """New flows were answered with a reset because the table was full."""
    stray: int = 0
    """Packets of no known flow were answered with a reset."""
    udp_refused: int = 0
    """Datagrams were answered with ICMP port unreachable."""
    dropped: dict[Drop, int] = field(default_factory=lambda: dict.fromkeys(Drop, 0))


# One unpack fetches all that the fast path looks at, one store puts the 4-tuple back. These are the first 50 bytes of a
# packet over IPv4; a star marks what is written:
#
#      0 |vflags                  virtio_net_hdr              |
#     10 |ver/ihl tos  length      | id          fragment     |
#     18 |ttl         protocol     | IP checksum * source *   |
#     26 |        destination *    | sport *     dport *      |
#     34 |sequence                 | acknowledgement          |
#     42 |data offset flags        | window      checksum *   |
#     48 |urgent pointer           |
#
# Over IPv6 the header is 20 bytes longer and has no checksum: next header is at 16, the addresses are at 18.
_READ4 = struct.Struct("!B15xHxBH12s9xB2xH").unpack_from
"""vnet flags, fragment, protocol, header checksum, 4-tuple, TCP flags, TCP checksum"""
_READ6 = struct.Struct("!B15xBx36s9xB2xH").unpack_from
"""vnet flags, next header, 4-tuple, TCP flags, TCP checksum"""
_STORE4 = struct.Struct("!H12s").pack_into
_STORE6 = struct.Struct("!36s").pack_into
_STORE16 = struct.Struct("!H").pack_into
_STORE4_OFFSET = TCP4_OFFSET - 10
_STORE6_OFFSET = TCP6_OFFSET - 32
_CHECKSUM4_OFFSET = TCP4_OFFSET + 16
_CHECKSUM6_OFFSET = TCP6_OFFSET + 16
_LEAST4 = TCP4_OFFSET + TCP_HEADER_BYTES
_LEAST6 = TCP6_OFFSET + TCP_HEADER_BYTES
_MARKING = FIN | SYN | RST
_OPENING = SYN | ACK | FIN
"""Of these a packet that begins a connection has SYN alone."""


class FlowTable:
    """A FlowTable rewrites packets in place, and holds first SYNs."""

    def __init__(
        self,
        hairpins: Iterable[Hairpin],
        *,
        max_flows: int = 16384,
        ports: range = PORTS,
        linger_s: float = LINGER_S,
        quiet_s: float = QUIET_S,
        bypass: Bypass | None = None,
    ) -> None:
        self.counters = FlowCounters()
        self._bypass = bypass or NoBypass()
        self._hairpins = {len(pin.own): pin for pin in hairpins}
        self._max_flows = min(max_flows, len(ports))
        self._linger_s = linger_s
        self._quiet_s = quiet_s
        self._rewrites: dict[bytes, Rewrite] = {}
        self._held: dict[bytes, Flow] = {}
        self._closing: dict[int, Flow] = {}
        self._resets: list[Flow] = []
        self._ports_in_use: set[int] = set()
        self._unused_ports: Iterator[int] = iter(ports)
        self._released_ports: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._ports_in_use)

    def rewrite(self, buffer: bytearray, length: int) -> bool:
        """Rewrite the packet in `buffer[:length]`, virtio_net_hdr in front; return False if it is of no known flow.

        It costs one look-up and one checksum update, and never raises on malformed input.
        """
        if length < _LEAST4:
            return False
        if buffer[10] != IPV4_PLAIN:
            return self._rewrite6(buffer, length)
        vnet_flags, fragment, protocol, ip_checksum, key, flags, tcp_checksum = _READ4(buffer)
        rewrite = self._rewrites.get(key)
        if rewrite is None or protocol != PROTOCOL_TCP or fragment & FRAGMENT_MASK:
            return False
        if flags & _MARKING and self._mark(rewrite, flags):
            return False
        rewrite.flow.active = True
        # RFC 1624: ~(~C + ~m + m'). A sum of two 16-bit numbers needs folding once.
        total = (ip_checksum ^ 0xFFFF) + rewrite.address_change
        _STORE4(buffer, _STORE4_OFFSET, ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF, rewrite.new)
        if vnet_flags & NEEDS_CSUM:
            total = tcp_checksum + rewrite.address_change
            _STORE16(buffer, _CHECKSUM4_OFFSET, (total & 0xFFFF) + (total >> 16))
        else:
            total = (tcp_checksum ^ 0xFFFF) + rewrite.tuple_change
            _STORE16(buffer, _CHECKSUM4_OFFSET, ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF)
        return True

    def _rewrite6(self, buffer: bytearray, length: int) -> bool:
        if length < _LEAST6 or buffer[10] >> 4 != 6:
            return False
        vnet_flags, next_header, key, flags, tcp_checksum = _READ6(buffer)
        rewrite = self._rewrites.get(key)
        if rewrite is None or next_header != PROTOCOL_TCP:
            return False
        if flags & _MARKING and self._mark(rewrite, flags):
            return False
        rewrite.flow.active = True
        _STORE6(buffer, _STORE6_OFFSET, rewrite.new)
        if vnet_flags & NEEDS_CSUM:
            total = tcp_checksum + rewrite.address_change
            _STORE16(buffer, _CHECKSUM6_OFFSET, (total & 0xFFFF) + (total >> 16))
        else:
            total = (tcp_checksum ^ 0xFFFF) + rewrite.tuple_change
            _STORE16(buffer, _CHECKSUM6_OFFSET, ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF)
        return True

    def _mark(self, rewrite: Rewrite, flags: int) -> bool:
        """Note a SYN, FIN or RST of a known flow; return True when a SYN begins a new connection on the 4-tuple."""
        flow = rewrite.flow
        if flags & FIN:
            flow.seen |= rewrite.fin
        if flags & RST:
            flow.seen |= RESET
            self._resets.append(flow)
        elif flags & _OPENING == SYN and flow.finished:
            if rewrite is flow.outbound:  # else nobody of ours sent it, and a newer flow may have the same 4-tuple
                del self._rewrites[flow.key]
                self._bypass.leave(flow)
            return True
        return False

    def receive(self, buffer: bytearray, length: int) -> NewFlow | Answer | None:
        """Decide about a TCP packet that `rewrite` left as it is; None when it is dropped."""
        segment = parse_segment(buffer)
        if isinstance(segment, Drop):
            return self._drop(segment)
        if segment.flags & RST:
            return self._drop(Drop.STRAY_RESET)
        if segment.flags & _OPENING != SYN:
            self.counters.stray += 1
            return Answer(replies.reset(segment))
        held = self._held.get(segment.key)
        if held is not None:
            # The latest copy is let through: its timestamp does not make the wait for the dial look like latency.
            held.syn = bytes(buffer[:length])
            return self._drop(Drop.HELD)
        return self._hold(segment, bytes(buffer[:length]))

    def _hold(self, segment: Segment, syn: bytes) -> NewFlow | Answer:
        pin = self._hairpins.get(4 if len(segment.key) == TUPLE4_BYTES else 16)
        if pin is None or segment.key[len(pin.own) : 2 * len(pin.own)] == pin.peer:
            self.counters.stray += 1
            return Answer(replies.reset(segment))
        if len(self) >= self._max_flows:
            self.counters.full += 1
            return Answer(replies.reset(segment))
        flow = Flow(segment.key, self._take_port(), syn, pin)
        self._held[flow.key] = flow
        self.counters.flows += 1
        return NewFlow(flow)

    def _drop(self, reason: Drop) -> NewFlow | Answer | None:
        self.count_drop(reason)
        return None

    def count_drop(self, reason: Drop) -> None:
        """Count a packet of any protocol that goes no further."""
        self.counters.dropped[reason] += 1

    def is_own_network(self, address: bytes) -> bool:
        """Return whether the packed address lies in a TUN's own network, which is four addresses."""
        pin = self._hairpins.get(len(address))
        return pin is not None and address[:-1] == pin.own[:-1] and address[-1] >> 2 == pin.own[-1] >> 2

    def _take_port(self) -> int:
        """Take a port that was never used, else the one that has been free longest.

        So the acceptor's TIME_WAIT (60 s on Linux) is over when a port comes back, up to 1,000 new connections a
        second. Sooner, such a connection may take one retransmission of its SYN, 1 s.
        """
        port = next(self._unused_ports, None) or self._released_ports.popleft()
        self._ports_in_use.add(port)
        return port

    def admit(self, flow: Flow) -> bytes:
        """Let the flow's packets pass, because the far side answered; return the held SYN, rewritten."""
        flow.become(State.OPEN)
        self.counters.admitted += 1
        del self._held[flow.key]
        self._rewrites[flow.key] = flow.outbound
        self._rewrites[flow.reply_key] = flow.inbound
        self.counters.bypassing += self._bypass.enter(flow)
        syn = bytearray(flow.syn)
        flow.syn = b""
        self.rewrite(syn, len(syn))
        return bytes(syn)

    def refuse(self, flow: Flow) -> bytes:
        """Forget the flow, because the far side refused; return the reset that answers the held SYN."""
        self.counters.refused += 1
        segment = parse_segment(bytearray(flow.syn))
        assert isinstance(segment, Segment)  # noqa: S101  # it parsed when it came
        self.forget(flow)
        return replies.reset(segment)

    def unreachable(self, flow: Flow) -> bytes:
        """Forget the flow, because nobody answered; return the ICMP error that answers the held SYN."""
        self.counters.unreachable += 1
        packet = replies.unreachable(flow.hairpin.peer, flow.syn)
        self.forget(flow)
        return packet

    def take_resets(self) -> list[Flow]:
        """Return the open flows that were reset since the last call.

        An acceptor's socket that is not being read, or is still in its handshake, does not tell its owner of a reset.
        """
        resets, self._resets = self._resets, []
        return [flow for flow in resets if flow.state is State.OPEN]

    def release(self, flow: Flow, now_s: float) -> None:
        """Let `expire` forget the flow, which the relay has let go of, once the kernel has nothing left to send.

        That takes seeing each of its packets from now on.
        """
        flow.become(State.CLOSING)
        self._bypass.leave(flow)
        flow.quiet_since_s = now_s
        self._closing[flow.port] = flow

    def expire(self, now_s: float) -> None:
        """Forget the released flows whose time has come. Call this about once a second."""
        for flow in list(self._closing.values()):
            if flow.active:
                flow.active = False
                flow.quiet_since_s = now_s
            elif now_s - flow.quiet_since_s >= (self._linger_s if flow.finished else self._quiet_s):
                self.forget(flow)

    def forget(self, flow: Flow) -> None:
        """Take the flow out of the table, whatever its state, and free its port."""
        if flow.state is State.DIALLING:
            del self._held[flow.key]
        else:
            if self._rewrites.get(flow.key) is flow.outbound:  # a newer flow may have the same 4-tuple
                del self._rewrites[flow.key]
            del self._rewrites[flow.reply_key]
            self._bypass.leave(flow)
            self._closing.pop(flow.port, None)
        flow.become(State.CLOSED)
        self._ports_in_use.remove(flow.port)
        self._released_ports.append(flow.port)
