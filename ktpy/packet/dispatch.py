"""The dispatch of packets by their protocol, for all that the flow table has not rewritten at once."""

from collections.abc import Callable, Mapping

from ktpy.packet.flow_table import Answer, FlowTable, NewFlow
from ktpy.packet.fragments import Reassembly, is_fragment
from ktpy.packet.headers import PROTOCOL_TCP, Drop, protocol_of

Receiver = Callable[[bytearray, int], NewFlow | Answer | None]
"""Takes the packet in `buffer[:length]`, and returns what to do about it; None when it is dropped."""


class Dispatch:
    """A Dispatch hands each packet to the receiver of its protocol: TCP's is the flow table."""

    def __init__(
        self,
        flow_table: FlowTable,
        others: Mapping[int, Receiver] | None = None,
        reassembly: Reassembly | None = None,
    ) -> None:
        """`others` has a receiver by its protocol's number (IANA). Packets of the rest are counted and dropped.

        Without `reassembly` fragments are dropped, too.
        """
        self._count_drop = flow_table.count_drop
        self._reassembly = reassembly
        self._receivers = {**(others or {}), PROTOCOL_TCP: flow_table.receive}

    def receive(self, buffer: bytearray, length: int) -> NewFlow | Answer | None:
        """Take a packet that `FlowTable.rewrite` left as it is. Never raises on malformed input."""
        if self._reassembly is not None and is_fragment(buffer, length):
            whole = self._reassembly.add(buffer, length)
            if whole is None:
                return None
            buffer, length = whole, len(whole)
        protocol = protocol_of(buffer, length)
        if isinstance(protocol, Drop):
            self._count_drop(protocol)
        elif receiver := self._receivers.get(protocol):
            return receiver(buffer, length)
        else:
            self._count_drop(Drop.UNSUPPORTED)
        return None
