"""What the main process may ask of the helper of `ktpy run`, and what comes back; see `ktpy.helper.protocol`."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Final

from ktpy.helper.wire import MessageError
from ktpy.wire.files import is_inside

SOCKETS_LIMIT: Final = 16
FUSE_LIMIT: Final = 64

# --- requests


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    """Make the TUN, with a default route into it, and all sockets of the program's network."""


@dataclass(frozen=True, slots=True)
class File:
    """A File is a path that exists and what the program reads there."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class PutFiles:
    """Let the program see these files in place of the machine's, and have this host name, if one is given."""

    files: tuple[File, ...]
    host_name: str | None


@dataclass(frozen=True, slots=True)
class OpenSockets:
    """Open TCP sockets in the program's network, for connections from outside to what it listens on."""

    ip_version: int
    count: int

    def __post_init__(self) -> None:
        if self.ip_version not in (4, 6) or not 1 <= self.count <= SOCKETS_LIMIT:
            raise MessageError(f"{self.count} sockets of IPv{self.ip_version} cannot be opened")


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """Make a folder in memory, in the program's mounts alone, from which `ShowPlaces` takes what is there."""


@dataclass(frozen=True, slots=True)
class MountFuse:
    """Mount file systems that the main process serves (fuse(4)), for the places that name them. A folder is open."""

    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= FUSE_LIMIT:
            raise MessageError(f"{self.count} file systems cannot be mounted")


@dataclass(frozen=True, slots=True)
class Place:
    """A Place is a path at which the program sees what the folder holds at the same path, or a file system."""

    path: str
    read_only: bool
    fuse: int | None = None
    """Which one of those of `MountFuse`."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or not is_inside(self.path[1:]) or self.path == "/":
            raise MessageError(f"{self.path!r} is no place for files")


@dataclass(frozen=True, slots=True)
class ShowPlaces:
    """Let the program see these, outer folders first. It is asked once."""

    places: tuple[Place, ...]


# --- replies


@dataclass(frozen=True, slots=True)
class NetworkMade:
    """NetworkMade brings descriptors: the TUN, a TCP acceptor for each of its addresses, UDP and TCP sockets bound to
    port 53 of `dns`, a socket for sock_diag(7), and the namespaces of user, network, mounts and host name.

    The IPv6 pair is missing where the machine has IPv6 disabled.
    """

    address4: IPv4Interface
    peer4: IPv4Address
    address6: IPv6Interface | None
    peer6: IPv6Address | None
    dns: IPv4Address


@dataclass(frozen=True, slots=True)
class FilesPut:
    pass


@dataclass(frozen=True, slots=True)
class FolderOpened:
    """FolderOpened brings the folder's descriptor."""


@dataclass(frozen=True, slots=True)
class FuseMounted:
    """FuseMounted brings a descriptor for each file system, non-blocking; none where this machine lets no user mount
    any."""

    why_not: str | None


@dataclass(frozen=True, slots=True)
class PlacesShown:
    failures: tuple[str, ...]
    """A sentence for each place that cannot be shown."""


@dataclass(frozen=True, slots=True)
class SocketsOpened:
    """SocketsOpened brings as many descriptors as were asked for, non-blocking."""
