"""Notices that others change the machine's routes while ktpy is connected, as a VPN does that comes up later.

The kernel tells it to everybody (rtnetlink(7)), so this needs neither root nor the helper.
"""

import asyncio
import socket
import struct
import sys
from typing import Final

_GROUPS: Final = 0x40 | 0x400
"""RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE (linux/rtnetlink.h)."""
_NEW_ROUTE, _OUTGOING = 24, 4  # RTM_NEWROUTE, RTA_OIF
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ROUTE_BYTES: Final = 12
SETTLE_S: Final = 0.5
"""Changes come in bursts, and a route is of use once its link is."""


class RouteChanges:
    """RouteChanges hears of routes from when it is made on. It does not count what is routed into the own link."""

    def __init__(self, own_link_index: int) -> None:
        self._own = own_link_index
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))
        self._heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def wait(self) -> None:
        """Wait for a change that nobody has waited for yet, and until others that come with it are made, too."""
        await self._heard.wait()
        await asyncio.sleep(SETTLE_S)
        self._heard.clear()

    def _hear(self) -> None:
        try:
            while True:
                if is_by_others(self._socket.recv(1 << 16), self._own):
                    self._heard.set()
        except BlockingIOError:
            pass
        except OSError:  # more than the socket holds (ENOBUFS)
            self._heard.set()


def is_by_others(datagram: bytes, own_link_index: int) -> bool:
    """Tell whether there is more in these messages than routes that were added into the own link."""
    while len(datagram) >= _HEADER.size:
        size, kind, *_ = _HEADER.unpack_from(datagram)
        if kind != _NEW_ROUTE or _outgoing(datagram[_HEADER.size + _ROUTE_BYTES : size]) != own_link_index:
            return True
        datagram = datagram[max(size + 3 & ~3, _HEADER.size) :]
    return False


def _outgoing(attributes: bytes) -> int | None:
    """Return the index of the link that a route leads to; None where it leads to several, or to none."""
    while len(attributes) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _OUTGOING:
            return int.from_bytes(attributes[_ATTRIBUTE.size : size], sys.byteorder)
        attributes = attributes[max(size + 3 & ~3, _ATTRIBUTE.size) :]
    return None
