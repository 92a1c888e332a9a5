"""Which packets are shown: the part of tcpdump's language (pcap-filter(7)) that speaks of IP, ports and protocols.

    host web and port 80        src 10.244.0.7 and not udp      tcp portrange 8000-8099      net 10.96.0.0/12

It matches where a packet has the ports of TCP and UDP only; a fragment but the first has none.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeVar

from ktpy.packet.headers import (
    EXTENSION_HEADERS,
    FRAGMENT_HEADER,
    IPV4_HEADER_BYTES,
    IPV6_HEADER_BYTES,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
)

Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Sequence[Address]]
"""Returns the addresses of a name, none where there are none."""

_PROTOCOLS: Final = {"tcp": PROTOCOL_TCP, "udp": PROTOCOL_UDP, "icmp": PROTOCOL_ICMP, "icmp6": PROTOCOL_ICMPV6}
_VERSIONS: Final = {"ip": 4, "ip6": 6}
_KINDS: Final = ("host", "net", "port", "portrange")
_WORDS: Final = frozenset({*_PROTOCOLS, *_VERSIONS, *_KINDS, "src", "dst", "and", "or", "not", "greater", "less"})
_TOKEN: Final = re.compile(r"\s*(&&|\|\||[()!]|[^\s()!&|]+)\s*")
_EVERY_PORT: Final = range(65536)


class FilterError(ValueError):
    """The expression is none; the message says where."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers are what a filter asks of a packet."""

    version: int
    protocol: int
    ends: tuple[Address, Address]
    """Source and destination."""
    ports: tuple[int, int] | None
    length: int
    """Of the packet, in bytes, with its IP header."""


Matches = Callable[[Headers], bool]
_End = TypeVar("_End", Address, int)


def headers_of(packet: bytes | memoryview) -> Headers | None:
    """Read a packet that begins with its IP header; None where it is malformed."""
    if len(packet) >= IPV4_HEADER_BYTES and packet[0] >> 4 == 4:
        ends = IPv4Address(bytes(packet[12:16])), IPv4Address(bytes(packet[16:20]))
        is_first = not int.from_bytes(packet[6:8], "big") & 0x1FFF
        upper = (packet[0] & 0xF) * 4 if is_first else len(packet)
        return Headers(4, packet[9], ends, _ports(packet, packet[9], upper), len(packet))
    if len(packet) >= IPV6_HEADER_BYTES and packet[0] >> 4 == 6:
        ends6 = IPv6Address(bytes(packet[8:24])), IPv6Address(bytes(packet[24:40]))
        protocol, upper = _upper6(packet)
        return Headers(6, protocol, ends6, _ports(packet, protocol, upper), len(packet))
    return None


def _upper6(packet: bytes | memoryview) -> tuple[int, int]:
    """Return the protocol behind the extension headers (RFC 8200), and where it begins."""
    protocol, at = packet[6], IPV6_HEADER_BYTES
    while len(packet) >= at + 8:
        if protocol == FRAGMENT_HEADER:
            is_first = not int.from_bytes(packet[at + 2 : at + 4], "big") >> 3
            protocol, at = packet[at], at + 8 if is_first else len(packet)
        elif protocol in EXTENSION_HEADERS:
            protocol, at = packet[at], at + 8 + packet[at + 1] * 8
        else:
            break
    return protocol, at


def _ports(packet: bytes | memoryview, protocol: int, upper: int) -> tuple[int, int] | None:
    if protocol not in (PROTOCOL_TCP, PROTOCOL_UDP) or len(packet) < upper + 4:
        return None
    return int.from_bytes(packet[upper : upper + 2], "big"), int.from_bytes(packet[upper + 2 : upper + 4], "big")


def parse_filter(text: str, resolve: Resolve) -> Matches:
    """Return what tells whether a packet is meant; an empty `text` means every one. Raises FilterError."""
    tokens = _tokens(text)
    if not tokens:
        return lambda _: True
    parser = _Parser(tokens, resolve)
    matches = parser.alternatives()
    if parser.next is not None:
        raise FilterError(f"{parser.next!r} is one word too many: `and` or `or` goes between two conditions.")
    return matches


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text.rstrip()):
        if (match := _TOKEN.match(text, at)) is None:
            raise FilterError(f"{text[at]!r} stands alone at character {at + 1}: wanted is && or ||.")
        found.append({"&&": "and", "||": "or", "!": "not"}.get(match[1], match[1]))
        at = match.end()
    return found


class _Parser:
    """A _Parser goes through the words once; `and` binds closer than `or`, unlike in libpcap, where they are equal."""

    def __init__(self, tokens: Sequence[str], resolve: Resolve) -> None:
        self._tokens, self._at, self._resolve = tokens, 0, resolve
        self._last: Callable[[str], Matches] | None = None
        """What a bare value means: as what stood before it."""

    @property
    def next(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, *wanted: str) -> str | None:
        """Take the next word if it is one of these."""
        if self.next not in wanted:
            return None
        self._at += 1
        return self._tokens[self._at - 1]

    def alternatives(self) -> Matches:
        parts = [self._conditions()]
        while self._take("or"):
            parts.append(self._conditions())
        return parts[0] if len(parts) == 1 else lambda packet: any(part(packet) for part in parts)

    def _conditions(self) -> Matches:
        parts = [self._condition()]
        while self._take("and"):
            parts.append(self._condition())
        return parts[0] if len(parts) == 1 else lambda packet: all(part(packet) for part in parts)

    def _condition(self) -> Matches:
        if self._take("not"):
            negated = self._condition()
            return lambda packet: not negated(packet)
        if self._take("("):
            inner = self.alternatives()
            if not self._take(")"):
                raise FilterError("A parenthesis is not closed.")
            return inner
        return self._primitive()

    def _primitive(self) -> Matches:
        if relation := self._take("greater", "less"):
            most = _number(self._value(relation), range(1 << 17))
            return lambda packet: packet.length >= most if relation == "greater" else packet.length <= most
        protocol = self._take(*_PROTOCOLS, *_VERSIONS)
        of_protocol = _of_protocol(protocol) if protocol else None
        direction = self._take("src", "dst")
        kind = self._take(*_KINDS)
        if of_protocol and not (direction or kind):
            return of_protocol
        if kind or direction:
            self._last = lambda value: self._of_kind(kind or "host", direction, value)
        named = kind or direction
        value = self._value(named or "the filter")
        ends = (self._last or (lambda value: self._of_kind("host", None, value)))(value)
        return ends if of_protocol is None else lambda packet: of_protocol(packet) and ends(packet)

    def _value(self, after: str) -> str:
        value = self.next
        if value is None or value in _WORDS or value in "()":
            raise FilterError(f"A value is missing after {after}" + (f", before {value!r}." if value else "."))
        self._at += 1
        return value

    def _of_kind(self, kind: str, direction: str | None, value: str) -> Matches:
        if kind in ("port", "portrange"):
            ports = _port_range(value) if kind == "portrange" else range(port := _number(value, _EVERY_PORT), port + 1)
            return lambda packet: (
                packet.ports is not None and any(end in ports for end in _chosen(packet.ports, direction))
            )
        networks = [_network(value)] if kind == "net" else list(map(ip_network, self._addresses(value)))
        return lambda packet: any(end in network for end in _chosen(packet.ends, direction) for network in networks)

    def _addresses(self, name: str) -> Sequence[Address]:
        try:
            return [ip_address(name)]
        except ValueError:
            pass
        if not (found := self._resolve(name)):
            raise FilterError(f"{name!r} is neither an address nor a name of the cluster, nor a word of the filter.")
        return found


def _of_protocol(word: str) -> Matches:
    if version := _VERSIONS.get(word):
        return lambda packet: packet.version == version
    protocol = _PROTOCOLS[word]
    return lambda packet: packet.protocol == protocol


def _chosen(ends: tuple[_End, _End], direction: str | None) -> tuple[_End, ...]:
    return ends if direction is None else ends[:1] if direction == "src" else ends[1:]


def _network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value, strict=False)
    except ValueError:
        raise FilterError(f"{value!r} is no network (wanted: such as 10.96.0.0/12).") from None


def _number(value: str, allowed: range) -> int:
    if not (value.isascii() and value.isdigit() and int(value[:9]) in allowed):
        raise FilterError(f"{value!r} is no number from {allowed[0]} to {allowed[-1]}.")
    return int(value)


def _port_range(value: str) -> range:
    low, dash, high = value.partition("-")
    if not dash:
        raise FilterError(f"{value!r} is no range of ports (wanted: such as 8000-8099).")
    return range(_number(low, _EVERY_PORT), _number(high, _EVERY_PORT) + 1)
