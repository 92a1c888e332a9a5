"""The program by which the kernel turns round, in a TUN, the packets of the connections that a map names.

It is what `ktpy.packet.flow_table` does to each of them, without the way through the main process and its four copies:
where a packet leaves by the TUN, its 4-tuple is looked up, replaced together with the checksums, and the packet
comes in by the TUN again. What has no entry passes as if there were no program, and so does all that begins or ends a
connection (SYN, FIN, RST), fragments, IPv4 with options, and IPv6 with extension headers.

The map's owner decides nothing by it that who holds the TUN's descriptor could not: what leaves by the TUN, and what
comes in by it.
"""

import os
import socket
import struct
from contextlib import ExitStack
from typing import Final

from ktpy.helper import bpf, routes

KEY_BYTES: Final = 36
"""Source, destination, source port and destination port as they lie in the packet; over IPv4 zeros follow."""
VALUE: Final = struct.Struct(f"={KEY_BYTES}sII")
"""What takes the place of the key, and what that adds to sums: over the addresses, over the ports (RFC 1624)."""
_OF_ADDRESSES, _OF_PORTS = KEY_BYTES, KEY_BYTES + 4
ENTRIES: Final = 32768
"""Two for each flow that a flow table holds at most."""
NAME: Final = "ktpy_flows"

# Registers: r0 what a function returns, r1 to r5 what it is given, r6 to r9 kept over calls, r10 the end of the stack.
_STACK: Final = 10
_PACKET, _KEY4 = -64, -104
"""Where on the stack the headers are, and the key that is made of IPv4's."""

# linux/bpf.h, linux/bpf_common.h
_MOVE, _MOVE_REGISTER, _ADD, _AND, _SHIFT_RIGHT = 0xB7, 0xBF, 0x07, 0x57, 0x77
_LOAD_8, _LOAD_16, _LOAD_32, _STORE_32, _PUT_32, _PUT_64, _LOAD_MAP = 0x71, 0x69, 0x61, 0x63, 0x62, 0x7A, 0x18
_GO, _IF_EQUAL, _UNLESS_EQUAL, _CALL, _EXIT = 0x05, 0x15, 0x55, 0x85, 0x95
_LOOK_UP, _STORE_BYTES, _REPLACE_L3, _REPLACE_L4, _REDIRECT, _LOAD_BYTES = 1, 9, 10, 11, 23, 26
_PSEUDO_MAP_FD: Final = 1
_PSEUDO_HEADER: Final = 0x10
_INGRESS: Final = 1
_INTERFACE_OF_CONTEXT: Final = 40
_PASS, _DROP = -1, 2
"""TC_ACT_UNSPEC and TC_ACT_SHOT of linux/pkt_cls.h."""

_TCP: Final = 6
_IPV4_PLAIN: Final = 0x45
_FRAGMENT_MASK: Final = 0x3FFF
_FIN_SYN_RST: Final = 0x07
_INSTRUCTION: Final = struct.Struct("=BBhi")
"""Operation, registers (to, and from in the upper half), offset, number."""


class _Assembler:
    """An _Assembler puts instructions together. Jumps go forward, to labels."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._instructions: list[tuple[int, int, int, int, int]] = []
        self._jumps: dict[int, str] = {}
        self._labels: dict[str, int] = {}

    def emit(self, operation: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> None:
        self._instructions.append((operation, to, source, offset, number))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._instructions)

    def jump(self, name: str, operation: int = _GO, number: int = 0) -> None:
        """Go to the label, or do so if r0 compares with the number."""
        self._jumps[len(self._instructions)] = name
        self.emit(operation, number=number)

    def load_headers(self, size: int) -> None:
        """Copy the first bytes of the packet onto the stack; a packet that has fewer passes."""
        self.emit(_MOVE_REGISTER, 1, 6)
        self.emit(_MOVE, 2, number=self._start)
        self.emit(_MOVE_REGISTER, 3, _STACK)
        self.emit(_ADD, 3, number=_PACKET)
        self.emit(_MOVE, 4, number=size)
        self.emit(_CALL, number=_LOAD_BYTES)
        self.jump("pass", _UNLESS_EQUAL)

    def load_byte(self, offset: int) -> None:
        self.emit(_LOAD_8, 0, _STACK, _PACKET + offset)

    def pass_unless_data_of_tcp(self, protocol: int, flags: int) -> None:
        """Pass what is not TCP, or begins or ends a connection; given are the offsets of the fields that tell."""
        self.load_byte(protocol)
        self.jump("pass", _UNLESS_EQUAL, _TCP)
        self.load_byte(flags)
        self.emit(_AND, number=_FIN_SYN_RST)
        self.jump("pass", _UNLESS_EQUAL)

    def look_up(self, map_fd: int, key: int) -> None:
        """Have r7 point to the entry; what has none passes."""
        self.emit(_LOAD_MAP, 1, _PSEUDO_MAP_FD, number=map_fd)
        self.emit(0)  # its second half
        self.emit(_MOVE_REGISTER, 2, _STACK)
        self.emit(_ADD, 2, number=key)
        self.emit(_CALL, number=_LOOK_UP)
        self.jump("pass", _IF_EQUAL)
        self.emit(_MOVE_REGISTER, 7, 0)

    def store_tuple(self, offset: int, size: int) -> None:
        """Put the entry's 4-tuple into the packet."""
        self.emit(_MOVE_REGISTER, 1, 6)
        self.emit(_MOVE, 2, number=self._start + offset)
        self.emit(_MOVE_REGISTER, 3, 7)
        self.emit(_MOVE, 4, number=size)
        self.emit(_MOVE, 5)
        self.emit(_CALL, number=_STORE_BYTES)
        self.jump("drop", _UNLESS_EQUAL)

    def change_checksum(self, function: int, offset: int, change: int, flags: int = 0) -> None:
        """Add one of the entry's changes to a checksum. A size of 0 in the flags says that it is no pair of values."""
        self.emit(_MOVE_REGISTER, 1, 6)
        self.emit(_MOVE, 2, number=self._start + offset)
        self.emit(_MOVE, 3)
        self.emit(_LOAD_32, 4, 7, change)
        self.emit(_MOVE, 5, number=flags)
        self.emit(_CALL, number=function)
        self.jump("drop", _UNLESS_EQUAL)

    def assembled(self) -> bytes:
        packed = []
        for place, (operation, to, source, offset, number) in enumerate(self._instructions):
            target = self._jumps.get(place)
            distance = offset if target is None else self._labels[target] - place - 1
            packed.append(_INSTRUCTION.pack(operation, to | source << 4, distance, number))
        return b"".join(packed)


def program(map_fd: int, *, start: int = 0) -> bytes:
    """Return the instructions. The IP header begins at `start`: at 0 on a TUN, whose packets have no other before."""
    code = _Assembler(start)
    code.emit(_MOVE_REGISTER, 6, 1)  # the packet
    code.load_headers(40)
    code.load_byte(0)
    code.jump("ipv4", _IF_EQUAL, _IPV4_PLAIN)
    code.emit(_SHIFT_RIGHT, number=4)
    code.jump("pass", _UNLESS_EQUAL, 6)

    code.load_headers(60)
    code.pass_unless_data_of_tcp(6, 53)
    code.look_up(map_fd, _PACKET + 8)
    code.store_tuple(8, KEY_BYTES)
    code.change_checksum(_REPLACE_L4, 56, _OF_ADDRESSES, _PSEUDO_HEADER)
    code.change_checksum(_REPLACE_L4, 56, _OF_PORTS)
    code.jump("turn round")

    code.label("ipv4")
    code.pass_unless_data_of_tcp(9, 33)
    code.emit(_LOAD_16, 0, _STACK, _PACKET + 6)
    code.emit(_AND, number=socket.htons(_FRAGMENT_MASK))
    code.jump("pass", _UNLESS_EQUAL)
    for offset in (0, 4, 8):
        code.emit(_LOAD_32, 0, _STACK, _PACKET + 12 + offset)
        code.emit(_STORE_32, _STACK, 0, _KEY4 + offset)
    code.emit(_PUT_32, _STACK, 0, _KEY4 + 12)
    code.emit(_PUT_64, _STACK, 0, _KEY4 + 16)
    code.emit(_PUT_64, _STACK, 0, _KEY4 + 24)
    code.emit(_PUT_32, _STACK, 0, _KEY4 + 32)
    code.look_up(map_fd, _KEY4)
    code.store_tuple(12, 12)
    code.change_checksum(_REPLACE_L3, 10, _OF_ADDRESSES)
    code.change_checksum(_REPLACE_L4, 36, _OF_ADDRESSES, _PSEUDO_HEADER)
    code.change_checksum(_REPLACE_L4, 36, _OF_PORTS)

    code.label("turn round")
    code.emit(_LOAD_32, 1, 6, _INTERFACE_OF_CONTEXT)
    code.emit(_MOVE, 2, number=_INGRESS)
    code.emit(_CALL, number=_REDIRECT)
    code.emit(_EXIT)

    for name, verdict in (("drop", _DROP), ("pass", _PASS)):
        code.label(name)
        code.emit(_MOVE, number=verdict)
        code.emit(_EXIT)
    return code.assembled()


def attach(interface_index: int) -> int:
    """Have a TUN run the program, for as long as it lives; return the map's descriptor.

    Raises OSError and NetlinkError where the kernel, or what confines us, does not allow it: then nothing has changed.
    """
    with ExitStack() as on_failure:
        map_fd = bpf.create_hash(KEY_BYTES, VALUE.size, ENTRIES)
        on_failure.callback(os.close, map_fd)
        program_fd = bpf.load(program(map_fd), NAME)
        try:
            routes.run_where_packets_leave(interface_index, program_fd, NAME)
        finally:
            os.close(program_fd)  # the device holds it now
        on_failure.pop_all()
    return map_fd
