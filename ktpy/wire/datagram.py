"""The frames that carry datagrams, and echo requests, between the laptop and a shadow pod. Pure.

A frame is `length, kind, flow, port, address, payload`; the length is the payload's. A flow is a socket: the laptop
numbers each socket of its programs (source address and port, or an echo's identifier), and the agent opens one of its
own for a number that it does not know yet. The address, 16 bytes, is the target's or the answering host's; IPv4 is
mapped into IPv6 (RFC 4291, 2.5.5.2).
"""

import struct
from typing import Final, NamedTuple

COMMAND: Final = "ktpy-agent datagrams"
"""What a laptop asks sshd to run, on an SSH connection of its own. After the hello both ends send frames."""

DATAGRAM: Final = 1
"""A UDP datagram to, or from, `address` and `port`."""
ECHO: Final = 2
"""An ICMP echo request, and its reply; `port` is its sequence number."""
FAILED: Final = 3
"""What was sent to `address` and `port` did not arrive; the payload is a `Failure`. From the agent only."""
FORGET: Final = 4
"""The flow is over. From the laptop only."""
BEAT: Final = 5
"""The laptop lives. The agent answers with a count, 8 bytes: what it had to drop for the laptop since the start."""

HEADER: Final = struct.Struct("!HBIH16s")
TAIL: Final = struct.Struct("!BIH16s")
"""The header without the length."""
NOWHERE: Final = bytes(16)
_MAPPED: Final = bytes(10) + b"\xff\xff"
_FAILURE: Final = struct.Struct("!BB16s")
_COUNT: Final = struct.Struct("!Q")


class Frame(NamedTuple):
    kind: int
    flow: int
    port: int
    address: bytes
    payload: bytes

    def encoded(self) -> bytes:
        """Render the frame; raises struct.error for a payload of more than 65,535 bytes."""
        return HEADER.pack(len(self.payload), *self[:4]) + self.payload


class Failure(NamedTuple):
    """A Failure is the ICMP error that the pod got, or would have got."""

    type: int
    code: int
    router: bytes
    """Who sent it, as 16 bytes; NOWHERE for the pod's own kernel."""

    def encoded(self) -> bytes:
        return _FAILURE.pack(*self)

    @classmethod
    def parse(cls, payload: bytes) -> "Failure":
        """Read a payload; raises ValueError for one that is none."""
        if len(payload) != _FAILURE.size:
            raise ValueError(f"a failure has {_FAILURE.size} bytes, not {len(payload)}")
        return cls(*_FAILURE.unpack(payload))


class FrameParser:
    """A FrameParser splits a stream into frames, however it was cut."""

    def __init__(self) -> None:
        self._unread = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes. Any stream can be split: lengths are all that it depends on."""
        if self._unread:
            data = self._unread + data
        frames: list[Frame] = []
        start, end, size, unpack = 0, len(data), HEADER.size, HEADER.unpack_from
        while end - start >= size:
            length, kind, flow, port, address = unpack(data, start)
            stop = start + size + length
            if stop > end:
                break
            frames.append(Frame(kind, flow, port, address, data[start + size : stop]))
            start = stop
        self._unread = data[start:]
        return frames


def beat(dropped: int | None = None) -> bytes:
    """Render the laptop's beat, or the agent's, which counts what it dropped."""
    return Frame(BEAT, 0, 0, NOWHERE, b"" if dropped is None else _COUNT.pack(dropped)).encoded()


def dropped_in(frame: Frame) -> int:
    """Return the count of an agent's beat, 0 where it has none."""
    return int.from_bytes(frame.payload[: _COUNT.size], "big")


def mapped(address: bytes) -> bytes:
    """Return a packed address of either family in 16 bytes."""
    return _MAPPED + address if len(address) == 4 else address


def unmapped(address: bytes) -> bytes:
    """Return the packed address of its own family; the inverse of `mapped`."""
    return address[12:] if address.startswith(_MAPPED) else address
