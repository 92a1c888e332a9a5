"""This module defines what DNS answers consist of, as plain Python values: no wire format, no sockets, no library.

The zone speaks in these terms and `message` turns them into bytes, so that the rules of the Kubernetes DNS
specification can be read and tested without packets.
"""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple


class RRType(IntEnum):
    """RRType names the resource record types that ktpy uses (IANA "DNS parameters"); others are plain numbers."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    IXFR = 251
    AXFR = 252
    ANY = 255


class Rcode(IntEnum):
    """Rcode names the response codes (RFC 1035 section 4.1.1; BADVERS from RFC 6891)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Srv(NamedTuple):
    """Srv is the RDATA of an SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


class Soa(NamedTuple):
    """Soa is the RDATA of an SOA record (RFC 1035 section 3.3.13); `minimum_s` is the negative TTL (RFC 2308)."""

    primary: str
    mailbox: str
    serial: int
    refresh_s: int
    retry_s: int
    expire_s: int
    minimum_s: int


class ResourceRecord(NamedTuple):
    """A ResourceRecord is of class IN.

    `data` is the packed address for A and AAAA, a name for CNAME and PTR, the text for TXT.
    Names have no trailing dot and are lower case.
    """

    name: str
    rtype: int
    ttl_s: int
    data: bytes | str | Srv | Soa


@dataclass(frozen=True, slots=True)
class ZoneAnswer:
    """A ZoneAnswer is what the zone says about a name.

    `unfinished` is the name at which a CNAME chain leaves the zone: somebody else has to resolve it, and the
    records found go behind `answers`.
    """

    rcode: Rcode
    answers: tuple[ResourceRecord, ...] = ()
    authority: tuple[ResourceRecord, ...] = ()
    additional: tuple[ResourceRecord, ...] = ()
    unfinished: str | None = None
    is_inside: bool = False
    """Whether `unfinished` is a name as the cluster's DNS has it, which nobody else is to be asked for."""


class Elsewhere(Enum):
    """Elsewhere says who decides where the zone does not."""

    NOT_OURS = "not ours"  # an outside name: the machine's previous resolvers
    ASK_CLUSTER = "ask the cluster"  # a cluster name the watch cache cannot decide: the cluster's own DNS


def packed(address: str) -> bytes:
    """Return the network-order bytes of an IPv4 or IPv6 address. Raises ValueError when it is neither."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError as exc:
        raise ValueError(f"{address!r} is not an IP address") from exc


def address_type(address: bytes) -> RRType:
    """Return the record type that carries this packed address."""
    return RRType.A if len(address) == 4 else RRType.AAAA


def dashed(address: bytes) -> str:
    """Return the label CoreDNS gives an endpoint without a hostname: 10-244-0-5, fd44--5."""
    if len(address) == 4:
        return "-".join(map(str, address))
    text = socket.inet_ntop(socket.AF_INET6, address).replace(":", "-")
    return text + "0" if text.endswith("-") else text  # a label must not end in a dash


def undashed(label: str) -> bytes | None:
    """Return the packed address of such a label, as CoreDNS reads it; None when it has none."""
    is_ipv4 = label.count("-") == 3 and "--" not in label
    try:
        return packed(label.replace("-", "." if is_ipv4 else ":"))
    except ValueError:
        return None


def reverse_name(address: bytes) -> str:
    """Return the name under in-addr.arpa or ip6.arpa that holds the PTR records of a packed address."""
    if len(address) == 4:
        return ".".join(str(octet) for octet in reversed(address)) + ".in-addr.arpa"
    return ".".join(reversed(address.hex())) + ".ip6.arpa"


def reversed_address(name: str) -> bytes | None:
    """Return the packed address that a lower-case reverse name stands for; None when it is no whole address."""
    if name.endswith(".in-addr.arpa"):
        octets = name[: -len(".in-addr.arpa")].split(".")
        if len(octets) != 4 or not all(o.isascii() and o.isdigit() and str(int(o)) == o for o in octets):
            return None
        values = [int(octet) for octet in reversed(octets)]
        return bytes(values) if max(values) < 256 else None
    nibbles = name.removesuffix(".ip6.arpa").split(".")
    if len(nibbles) != 32 or not all(len(n) == 1 and n in "0123456789abcdef" for n in nibbles):
        return None
    return bytes.fromhex("".join(reversed(nibbles)))


def reverse_zones(network: IPv4Network | IPv6Network) -> Iterator[str]:
    """Yield the reverse zones that cover a network exactly: one per octet (IPv4) or nibble (IPv6) value in it."""
    step, labels_of_address = (8, 4) if network.version == 4 else (4, 32)
    prefix = min(-(-network.prefixlen // step) * step, network.max_prefixlen)
    for subnet in network.subnets(new_prefix=prefix):
        labels = reverse_name(subnet.network_address.packed).split(".")
        yield ".".join(labels[labels_of_address - prefix // step :])


def ancestors(name: str) -> Iterator[str]:
    """Yield the name itself, then each name above it: a.b.c, b.c, c."""
    while name:
        yield name
        name = name.partition(".")[2]


def normalised(names: Iterable[str]) -> frozenset[str]:
    """Return zone names as the look-ups compare them: lower case, no dot or `~` around."""
    return frozenset(name.lower().strip(".~") for name in names)
