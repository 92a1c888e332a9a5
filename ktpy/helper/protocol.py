"""The protocol is what the main process may ask of the helper, and what comes back.

One message is one JSON object in one packet of a SOCK_SEQPACKET socket pair; file descriptors travel with the
packet that speaks of them (SCM_RIGHTS, unix(7)). The set of requests is fixed, and each one's `__post_init__`
says what it may hold: both ends import this module, so a request that the helper would refuse already fails in
the process that makes it. The helper checks again all the same; the other end is not to be trusted.

Replies come in the order of the requests, one each; before the first the helper sends a `Hello`.
"""

import array
import json
import os
import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TypeVar

from ktpy.errors import (
    FolderNotWritable,
    HelperFailed,
    KtpyError,
    NamespacesForbidden,
    PrivilegeMissing,
    RangeOverlap,
    ResolverNotWritable,
    TunUnavailable,
)
from ktpy.helper.private.messages import (
    FilesPut,
    FolderOpened,
    FuseMounted,
    MakeNetwork,
    MountFuse,
    NetworkMade,
    OpenFolder,
    OpenSockets,
    PlacesShown,
    PutFiles,
    ShowPlaces,
    SocketsOpened,
)
from ktpy.helper.routable import is_default_route, reserved_in
from ktpy.helper.wire import Address, MessageError, Network, from_json, to_json

MESSAGE_LIMIT_BYTES = 128 * 1024
"""Fits the default socket buffer (net.core.wmem_default, 212,992 bytes) and 4,096 networks."""

NETWORKS_LIMIT = 4096
NAMES_LIMIT = 256
DESCRIPTORS_LIMIT = 16

# --- requests


@dataclass(frozen=True, slots=True)
class Recover:
    """Replay the journals of helpers that were killed."""


@dataclass(frozen=True, slots=True)
class ListLocalNetworks:
    """Ask which networks this machine reaches already, and through which interface."""


@dataclass(frozen=True, slots=True)
class OpenTun:
    """Make the first free ktpyN, with addresses, and bring it up. `mtu_bytes` is the largest packet without offload."""

    mtu_bytes: int

    def __post_init__(self) -> None:
        if not 1280 <= self.mtu_bytes <= 65535:  # RFC 8200: IPv6 needs 1280
            raise MessageError(f"an MTU is 1280 to 65535 bytes, not {self.mtu_bytes}")


@dataclass(frozen=True, slots=True)
class KeepOutside:
    """Never route these addresses, by which the API server is reached. They replace those of an earlier request."""

    addresses: tuple[Address, ...]

    def __post_init__(self) -> None:
        _check_count("addresses", self.addresses, 1, NAMES_LIMIT)


@dataclass(frozen=True, slots=True)
class AddRoutes:
    """Route these networks into the TUN: all of them, or none and an error."""

    networks: tuple[Network, ...]

    def __post_init__(self) -> None:
        _check_count("networks", self.networks, 1, NETWORKS_LIMIT)
        for network in self.networks:
            if is_default_route(network):
                raise MessageError(f"{network} is as wide as a default route")
            if (reserved := reserved_in(network)) is not None:
                raise MessageError(f"{network} overlaps {reserved}, which is never routed")


@dataclass(frozen=True, slots=True)
class RestoreRoutes:
    """Bring up the TUN, and add what was routed into it before and is not any more."""


@dataclass(frozen=True, slots=True)
class BindDns:
    """Bind port 53, UDP and TCP, on loopback addresses or the TUN's own."""

    addresses: tuple[Address, ...]

    def __post_init__(self) -> None:
        _check_count("addresses", self.addresses, 1, DESCRIPTORS_LIMIT // 2)


@dataclass(frozen=True, slots=True)
class DetectResolver:
    """Ask how this machine resolves names."""


@dataclass(frozen=True, slots=True)
class SetResolver:
    """Send the machine's look-ups to `nameservers`: all, or with systemd-resolved those of the domains.

    `search` are domains appended to short names, in this order. `routing_domains` are looked up here too, but
    never appended (a reverse zone); only systemd-resolved can tell the two apart, /etc/resolv.conf sends
    everything. `cluster_domain` is what the comment in a written file names.
    """

    nameservers: tuple[Address, ...]
    search: tuple[str, ...]
    routing_domains: tuple[str, ...]
    cluster_domain: str

    def __post_init__(self) -> None:
        _check_count("nameservers", self.nameservers, 1, 2)  # glibc reads three, and the user's own come next
        _check_count("search", self.search, 0, NAMES_LIMIT)
        _check_count("routing_domains", self.routing_domains, 0, NAMES_LIMIT)
        for name in (*self.search, *self.routing_domains, self.cluster_domain):
            check_domain(name)


@dataclass(frozen=True, slots=True)
class UndoAll:
    """Undo everything, report, and end. The same happens, without a report, when the socket closes."""


Request = (
    Recover
    | ListLocalNetworks
    | OpenTun
    | KeepOutside
    | AddRoutes
    | RestoreRoutes
    | BindDns
    | DetectResolver
    | SetResolver
    | MakeNetwork
    | PutFiles
    | OpenFolder
    | MountFuse
    | ShowPlaces
    | OpenSockets
    | UndoAll
)

# --- replies


@dataclass(frozen=True, slots=True)
class Hello:
    """A Hello says that the helper runs, is root, and listens."""

    pid: int
    owner_uid: int
    """The user it acts for."""
    remark: str | None = None
    """What that user should know of how ktpy is installed."""


@dataclass(frozen=True, slots=True)
class Undone:
    """Undone reports what was undone. `left` was somebody else's by then, `failures` stay in the journal."""

    journal_id: str
    undone: tuple[str, ...]
    left: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recovered:
    """Recovered has a report for each journal that was found without its helper."""

    journals: tuple[Undone, ...]


@dataclass(frozen=True, slots=True)
class LocalNetwork:
    """A LocalNetwork is a range that the machine reaches without ktpy, and the interface it reaches it by."""

    network: Network
    interface: str


@dataclass(frozen=True, slots=True)
class LocalNetworks:
    networks: tuple[LocalNetwork, ...]


@dataclass(frozen=True, slots=True)
class TunOpened:
    """TunOpened says that the TUN is up; its descriptor (non-blocking) travels with this reply.

    The peers are addresses for the other end of the link, used by the NAT; no machine has them.
    The IPv6 pair is missing where the machine has IPv6 disabled.
    """

    name: str
    number: int
    interface_index: int
    mtu_bytes: int
    address4: IPv4Interface
    peer4: IPv4Address
    address6: IPv6Interface | None
    peer6: IPv6Address | None


@dataclass(frozen=True, slots=True)
class KeptOutside:
    pass


@dataclass(frozen=True, slots=True)
class RoutesAdded:
    pass


@dataclass(frozen=True, slots=True)
class RoutesRestored:
    networks: tuple[Network, ...]
    """Those that had vanished."""


@dataclass(frozen=True, slots=True)
class DnsBound:
    """DnsBound brings, per address in the order asked, a UDP descriptor and a TCP one (bound, not yet listening)."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Resolver:
    """A Resolver describes how the machine resolves names without ktpy."""

    kind: str
    """`systemd-resolved` or `resolv.conf`."""
    form: str
    """What /etc/resolv.conf is: `file`, `symlink`, `bind-mount` or `absent`."""
    nameservers: tuple[str, ...]
    """Addresses as strings, because they may carry a scope (`fe80::1%eth0`)."""
    search: tuple[str, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResolverSet:
    previous: Resolver


@dataclass(frozen=True, slots=True)
class Failed:
    """Failed says that the request was refused, or failed and was undone."""

    error: str
    message: str
    hint: str | None

    def to_error(self) -> KtpyError:
        return _ERRORS.get(self.error, HelperFailed)(self.message, hint=self.hint)

    @classmethod
    def of(cls, error: KtpyError) -> "Failed":
        return cls(type(error).__name__, error.message, error.hint)


Reply = (
    Hello
    | Undone
    | Recovered
    | LocalNetworks
    | TunOpened
    | KeptOutside
    | RoutesAdded
    | RoutesRestored
    | DnsBound
    | Resolver
    | ResolverSet
    | NetworkMade
    | FilesPut
    | FolderOpened
    | FuseMounted
    | PlacesShown
    | SocketsOpened
    | Failed
)

_REFUSALS = (
    FolderNotWritable,
    HelperFailed,
    NamespacesForbidden,
    PrivilegeMissing,
    RangeOverlap,
    ResolverNotWritable,
    TunUnavailable,
)
_ERRORS = {error.__name__: error for error in _REFUSALS}
_REQUESTS: dict[str, type[Request]] = {shape.__name__: shape for shape in Request.__args__}
_REPLIES: dict[str, type[Reply]] = {shape.__name__: shape for shape in Reply.__args__}

# --- packets

M = TypeVar("M")


def encode(message: Request | Reply) -> bytes:
    return json.dumps({type(message).__name__: to_json(message)}).encode()


def decode_request(packet: bytes) -> Request:
    """Read one request. Raises `MessageError` for anything that is not exactly one allowed request."""
    return _decode(_REQUESTS, packet)


def decode_reply(packet: bytes) -> Reply:
    """Read one reply. Raises `MessageError`."""
    return _decode(_REPLIES, packet)


def _decode(shapes: dict[str, type[M]], packet: bytes) -> M:
    if len(packet) > MESSAGE_LIMIT_BYTES:
        raise MessageError(f"a message has at most {MESSAGE_LIMIT_BYTES} bytes")
    try:
        message = json.loads(packet)
    except (ValueError, RecursionError) as exc:
        raise MessageError("this is not JSON") from exc
    if not isinstance(message, dict) or len(message) != 1:
        raise MessageError("a message is an object with one key, its name")
    [(name, body)] = message.items()
    if name not in shapes:
        raise MessageError(f"there is no message {name!r}")
    return from_json(shapes[name], body)


def send_packet(sock: socket.socket, packet: bytes, descriptors: tuple[int, ...] = ()) -> None:
    """Send one packet whole, descriptors with it. Raises OSError."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sock.sendmsg([packet], rights)


def receive_packet(sock: socket.socket) -> tuple[bytes, tuple[int, ...]]:
    """Receive one packet and its descriptors (close-on-exec, the caller's to close); an empty one is end of file.

    Raises OSError, BlockingIOError where nothing waits, and `MessageError` for what did not fit.
    """
    int_bytes = array.array("i").itemsize
    packet, rights, flags, _ = sock.recvmsg(
        MESSAGE_LIMIT_BYTES, socket.CMSG_SPACE(DESCRIPTORS_LIMIT * int_bytes), socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % int_bytes])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for descriptor in descriptors:
            os.close(descriptor)
        raise MessageError("the message is too long")
    return packet, tuple(descriptors)


# --- checks

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)


def check_domain(name: str) -> None:
    """Raise `MessageError` for what is not a plain domain name (RFC 1035 2.3.4; the underscore as in SRV names).

    It has no final dot. These names are written to a file and are arguments of resolvectl.
    """
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise MessageError(f"{name!r} is not a domain name")


def _check_count(what: str, items: tuple[object, ...], fewest: int, most: int) -> None:
    if not fewest <= len(items) <= most:
        raise MessageError(f"{what}: {fewest} to {most} are allowed, not {len(items)}")
