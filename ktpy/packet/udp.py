"""UDP, which is not carried: its datagrams are refused, so that programs fail at once instead of waiting."""

from collections.abc import Callable
from typing import Final

from ktpy.packet import replies
from ktpy.packet.flow_table import Answer, FlowTable
from ktpy.packet.headers import TCP6_OFFSET, VNET_HEADER_BYTES, Drop

ANSWERS_PER_SECOND: Final = 1000
"""As many as Linux sends (icmp_msgs_per_sec of icmp(7))."""
_FRAGMENT_OFFSET: Final = 0x1FFF
_UDP_HEADER_BYTES: Final = 8


class UdpRefusal:
    """A UdpRefusal answers datagrams as a host without a listener does (RFC 1122, 4.1.3.1; RFC 4443, 3.1)."""

    def __init__(self, table: FlowTable, on_first: Callable[[bytes, int], None]) -> None:
        """`on_first` is called with the packed address and the port that the first refused datagram went to."""
        self._table = table
        self._on_first: Callable[[bytes, int], None] | None = on_first
        self._left = ANSWERS_PER_SECOND

    def renew(self) -> None:
        """Let another ANSWERS_PER_SECOND be sent. Call this once a second."""
        self._left = ANSWERS_PER_SECOND

    def receive(self, buffer: bytearray, length: int) -> Answer | None:
        """Take a packet whose `protocol_of` is UDP. Never raises on malformed input."""
        if buffer[VNET_HEADER_BYTES] >> 4 == 4:
            start = VNET_HEADER_BYTES + (buffer[VNET_HEADER_BYTES] & 0xF) * 4
            source, destination = bytes(buffer[22:26]), bytes(buffer[26:30])
            is_later_fragment = int.from_bytes(buffer[16:18], "big") & _FRAGMENT_OFFSET
            is_multicast = destination[0] >= 224  # or broadcast, or reserved
        else:
            start, source, destination = TCP6_OFFSET, bytes(buffer[18:34]), bytes(buffer[34:50])
            is_later_fragment, is_multicast = 0, destination[0] == 0xFF
        is_ours = not any(source) or self._table.is_own_network(destination)
        reason: Drop | None = None
        if start + _UDP_HEADER_BYTES > length:
            reason = Drop.MALFORMED
        elif is_later_fragment:
            reason = Drop.FRAGMENT
        elif is_multicast or is_ours or self._left == 0:
            reason = Drop.UNSUPPORTED
        if reason is not None:
            self._table.count_drop(reason)
            return None
        self._left -= 1
        self._table.counters.udp_refused += 1
        if self._on_first is not None:
            self._on_first(destination, int.from_bytes(buffer[start + 2 : start + 4], "big"))
            self._on_first = None
        return Answer(replies.port_unreachable(destination, bytes(buffer[:length])))
