"""The helper of `ktpy run` serves requests in the program's namespaces, where it has all capabilities."""

import os
import socket
from contextlib import ExitStack
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Final

from ktpy.errors import HelperFailed
from ktpy.helper import dns_sockets, routes, tun
from ktpy.helper.private import files, namespaces
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
from ktpy.helper.private.places import Covers, Places
from ktpy.helper.processes import end_all_in_network
from ktpy.helper.protocol import Reply, Request, Undone
from ktpy.helper.server import Helper, plan_tun
from ktpy.sock_diag import open_sock_diag

_STREAM: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
LOOPBACK: Final = 1
"""The index of lo, in every network namespace."""
DNS: Final = IPv4Address("127.18.0.53")
MTU_BYTES: Final = 1500
_DEFAULT: Final = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class PrivateHelper(Helper):
    """A PrivateHelper needs no journal: all that it makes goes with its namespaces, and those with their processes."""

    _covers = Covers()
    _places: Places | None = None

    def _greet(self) -> None:
        """The hello was sent when the namespaces were made: nobody waits for the imports of this module."""

    def _do(self, request: Request) -> tuple[Reply, tuple[int, ...]]:
        match request:
            case MakeNetwork():
                return _make_network()
            case PutFiles():
                if request.host_name is not None:
                    namespaces.set_host_name(request.host_name)
                files.put(request.files, self._covers)
                return FilesPut(), ()
            case OpenFolder():
                self._places = Places(self._covers)
                return FolderOpened(), (self._places.open(),)
            case MountFuse() if self._places is not None:
                try:
                    return FuseMounted(None), self._places.mount_fuse(request.count)
                except OSError as error:
                    return FuseMounted(f"{error.filename or 'fuse'}: {error.strerror}"), ()
            case ShowPlaces() if self._places is not None:
                return PlacesShown(self._places.show(request.places)), ()
            case OpenSockets():
                family = socket.AF_INET if request.ip_version == 4 else socket.AF_INET6
                opened = [socket.socket(family, _STREAM) for _ in range(request.count)]
                return SocketsOpened(), tuple(sock.detach() for sock in opened)
        raise HelperFailed(f"The helper of a program's network does not know {type(request).__name__}.")

    def _undo(self) -> Undone:
        """End the processes that are left in the program's network, which are of no use without it."""
        end_all_in_network(Path("/proc/self/ns/net").stat().st_ino)
        return Undone("", (), (), ())


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _make_network() -> tuple[NetworkMade, tuple[int, ...]]:
    namespaces.allow_low_ports_and_ping(os.getegid())
    planned = plan_tun(0, MTU_BYTES)
    with ExitStack() as on_failure:
        descriptors = [tun.open_device(planned.name)]
        on_failure.callback(lambda: _close(descriptors))
        routes.bring_up(LOOPBACK)
        opened = routes.set_up_link(planned, routes.ALIAS_PREFIX + "run")
        addresses = [one for one in (opened.address4, opened.address6) if one is not None]
        routes.add_routes(opened.interface_index, [_DEFAULT[one.version] for one in addresses])
        for one in addresses:
            acceptor = socket.socket(socket.AF_INET if one.version == 4 else socket.AF_INET6, _STREAM)
            descriptors.append(acceptor.detach())
            with socket.socket(fileno=os.dup(descriptors[-1])) as bound:
                bound.bind((str(one.ip), 0))
        descriptors += (sock.detach() for sock in dns_sockets.bind(DNS))
        descriptors.append(open_sock_diag().detach())
        descriptors += namespaces.open_all()
        on_failure.pop_all()
    made = NetworkMade(opened.address4, opened.peer4, opened.address6, opened.peer6, DNS)
    return made, tuple(descriptors)
