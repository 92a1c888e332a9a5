"""Packets as a person reads them, decoded by scapy."""

import logging
import re
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

logging.getLogger("scapy").setLevel(logging.ERROR)  # before it says what it does not find, which nobody needs

from scapy.layers.dns import DNS  # noqa: E402
from scapy.layers.http import HTTPRequest, HTTPResponse  # noqa: E402
from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.packet import NoPayload, Packet, Padding, Raw  # noqa: E402

LAPTOP: Final = "laptop"
_QUOTED: Final = re.compile(r"b?'([^']*)'")


class PacketLine(NamedTuple):
    """A PacketLine is what is told of a packet."""

    at_s: float
    is_sent: bool
    source: str
    destination: str
    """With the port, where there is one."""
    protocol: str
    told: str
    """Flags, kinds and the like, and what the program said where that is a protocol that scapy knows."""
    length: int

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.at_s))
        at = f"{clock}.{int(self.at_s % 1 * 1e6):06}"
        return f"{at} {self.source} > {self.destination} {self.protocol} {self.told}, {self.length} bytes"


def decoded(data: bytes) -> Packet:
    """Return the packet's layers; `show(dump=True)` of them is every field."""
    return IP(data) if data[0] >> 4 == 4 else IPv6(data)


def line(packet: Packet, at_s: float, length: int, names: Mapping[str, str], *, is_sent: bool) -> PacketLine:
    """Return what there is to say of a packet. The laptop's end is called that, others have their `names`."""
    source, destination = (names.get(end, end) for end in (packet.src, packet.dst))
    source, destination = (LAPTOP, destination) if is_sent else (source, LAPTOP)
    for kind in (TCP, UDP):
        if kind in packet:
            upper = packet[kind]
            source, destination = f"{_host(source)}:{upper.sport}", f"{_host(destination)}:{upper.dport}"
            return PacketLine(at_s, is_sent, source, destination, kind.__name__, _told(upper), length)
    upper = packet.payload
    told = upper.sprintf("%ICMP.type% id %ICMP.id% seq %ICMP.seq%") if isinstance(upper, ICMP) else upper.summary()
    protocol = "ICMP" if isinstance(upper, ICMP) or "ICMPv6" in upper.name else upper.name
    return PacketLine(at_s, is_sent, source, destination, protocol, _flat(told), length)


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _told(upper: Packet) -> str:
    said = upper.payload
    flags = f"{upper.flags} seq {upper.seq} ack {upper.ack} " if isinstance(upper, TCP) else ""
    application = _application(said)
    size = 0 if isinstance(said, NoPayload | Padding) else len(said)
    return f"{flags}payload {size}" + (f" {application}" if application else "")


def _application(said: Packet) -> str:
    for kind in (HTTPRequest, HTTPResponse, DNS):
        if kind in said:
            return _flat(said[kind].mysummary())
    last = said.lastlayer() if said else said
    return "" if isinstance(last, NoPayload | Padding | Raw) else _flat(last.summary())


def _flat(text: str) -> str:
    """Return the text in one line, without the marks that scapy puts around bytes."""
    return " ".join(_QUOTED.sub(r"\1", text).split())
