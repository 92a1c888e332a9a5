"""Where a client of the proxy wants to go, and why it does not get there. Pure."""

import errno
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

Address = IPv4Address | IPv6Address


class Destination(NamedTuple):
    """A Destination is a name or an address, without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, authority: str, default_port: int | None = None) -> "Destination":
        """Read `host:port` or `[address]:port`. Raises ValueError with a sentence's end: what is wrong with it."""
        host, colon, port = authority.rpartition(":")
        if not colon or "]" in port:  # the last colon is one of an address in brackets
            host, port = authority, ""
        if host.startswith("[") and host.endswith("]"):
            host = str(IPv6Address(host[1:-1]))
        elif not set(":@[]").isdisjoint(host):
            raise ValueError(f"{authority!r} is no host and port")
        return cls(checked_host(host), _port(port, default_port))

    @property
    def address(self) -> Address | None:
        """The address that the host is, an IPv4 address where it is one within IPv6; None for a name."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return None
        return getattr(address, "ipv4_mapped", None) or address


def checked_host(host: str) -> str:
    """Return the host. Raises ValueError for what can be neither a name nor an address."""
    if not host or len(host) > 255 or not host.isprintable() or " " in host:
        raise ValueError(f"{host[:255]!r} is no name of a host")
    return host


def _port(text: str, default: int | None) -> int:
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536):
        raise ValueError(f"{text!r} is no port")
    return int(text)


class Kind(Enum):
    """Why nobody could be reached: SOCKS and HTTP have codes for each."""

    REFUSED = "refused"
    NO_ROUTE = "no route"
    UNREACHABLE = "unreachable"
    SILENT = "silent"
    UNKNOWN_NAME = "unknown name"
    NO_ANSWER = "no answer"
    """Of the DNS, or of the link to the cluster."""


class DialFailure(Exception):
    """A DialFailure tells the client, in a sentence, why it is not connected."""

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence


_KINDS = {
    errno.ECONNREFUSED: (Kind.REFUSED, "refused the connection: nothing listens on that port"),
    errno.ENETUNREACH: (Kind.NO_ROUTE, "cannot be reached: there is no route to its network"),
    errno.ENETDOWN: (Kind.NO_ROUTE, "cannot be reached: the network is down"),
    errno.EHOSTUNREACH: (Kind.UNREACHABLE, "cannot be reached: nobody has that address"),
    errno.EHOSTDOWN: (Kind.UNREACHABLE, "cannot be reached: nobody has that address"),
    errno.ETIMEDOUT: (Kind.SILENT, "does not answer"),
}


def failure_of(error: OSError, destination: Destination, whence: str) -> DialFailure:
    """Return the failure that an attempt to connect ended with; `whence` is `from the cluster` or the like."""
    if isinstance(error, TimeoutError) and error.errno is None:
        kind, words = _KINDS[errno.ETIMEDOUT]
    elif (known := _KINDS.get(error.errno or 0)) is not None:
        kind, words = known
    else:
        kind, words = Kind.NO_ANSWER, f"cannot be reached ({error})"
    return DialFailure(kind, f"{destination} {words}, {whence}.")
