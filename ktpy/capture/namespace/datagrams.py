"""Datagrams and echo requests of a program: the cluster's go to the agent, others to sockets of the laptop."""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from ktpy.capture.namespace.exits import HOST, LOOPBACKS
from ktpy.capture.spec import DatagramWay
from ktpy.cluster.routing.networks import Address
from ktpy.wire.datagram import ECHO, FAILED, FORGET, NOWHERE, Failure, Frame, FrameParser, mapped, unmapped

TURN_DATAGRAMS: Final = 64
KNOWN_MAX: Final = 4096
_MAX_DATAGRAM: Final = 65535
_IP_RECVERR: Final = (socket.IPPROTO_IP, 11)
_IPV6_RECVERR: Final = (socket.IPPROTO_IPV6, 25)
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")  # struct sock_extended_err (linux/errqueue.h)
_FROM_ICMP: Final = (2, 3)
_ECHO: Final = struct.Struct("!BBHHH")
_REQUEST: Final = {socket.AF_INET: 8, socket.AF_INET6: 128}
_UNREACHABLE: Final = {socket.AF_INET: 3, socket.AF_INET6: 1}
_CODES: Final = {
    errno.ENETUNREACH: (0, 0),
    errno.EHOSTUNREACH: (1, 3),
    errno.ECONNREFUSED: (3, 4),
    errno.EACCES: (13, 1),
    errno.EPERM: (13, 1),
}
"""The codes of "destination unreachable", of ICMP and ICMPv6."""
_HOST: Final = mapped(HOST.packed)
_LOOPBACK: Final = mapped(ip_address(LOOPBACKS[0]).packed)

Deliver = Callable[[Iterable[Frame]], None]


class DatagramExits:
    """DatagramExits are the way of a program's datagrams; answers of the laptop's sockets go to `deliver`."""

    def __init__(self, inside: DatagramWay | None, is_inside: Callable[[Address], bool]) -> None:
        self.deliver: Deliver = lambda _: None
        self._inside = inside
        self._is_inside = is_inside
        self._known: dict[bytes, bool] = {}
        self._flows: dict[int, _Flow] = {}

    is_up = True
    """Whether the agent can be reached is told for each datagram that is for it."""

    def learn(self) -> None:
        """Look up anew who is inside, for the cluster has other ranges now."""
        self._known.clear()

    def send(self, frames: bytes) -> bool:
        """Send whole frames; return False when there is no room for those of the cluster."""
        parsed = FrameParser().feed(frames)
        inside = [frame for frame in parsed if self._leads_inside(frame)]
        if len(inside) != len(parsed):
            for frame in parsed:
                if not self._leads_inside(frame):
                    self._send_outside(frame)
        if not inside:
            return True
        if self._inside is None or not self._inside.is_up:
            self.deliver([_failed(frame, errno.EHOSTUNREACH) for frame in inside if frame.kind != FORGET])
            return True
        return self._inside.send(frames if len(inside) == len(parsed) else b"".join(map(Frame.encoded, inside)))

    def close(self) -> None:
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()

    def _leads_inside(self, frame: Frame) -> bool:
        if frame.kind == FORGET:
            return frame.flow not in self._flows
        known = self._known.get(frame.address)
        if known is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            known = self._known[frame.address] = self._is_inside(ip_address(unmapped(frame.address)))
        return known

    def _send_outside(self, frame: Frame) -> None:
        if frame.kind == FORGET:
            self._flows.pop(frame.flow).close()
            if self._inside is not None and self._inside.is_up:  # it may have sent to the cluster, too
                self._inside.send(frame.encoded())
            return
        try:
            if (flow := self._flows.get(frame.flow)) is None:
                flow = self._flows[frame.flow] = _Flow(frame, lambda frames: self.deliver(frames))
            flow.send(frame)
        except BlockingIOError:
            return  # the laptop's queue is full, and the datagram lost
        except OSError as error:
            if error.errno in _CODES:
                self.deliver([_failed(frame, error.errno)])


class _Flow:
    """A _Flow is a socket of a program, and the laptop's own socket in its place."""

    def __init__(self, first: Frame, deliver: Deliver) -> None:
        """Raises OSError where there is no such socket to be had."""
        self._number, self._kind, self._deliver = first.flow, first.kind, deliver
        self._family = socket.AF_INET if len(unmapped(first.address)) == 4 else socket.AF_INET6
        echo = socket.IPPROTO_ICMP if self._family == socket.AF_INET else socket.IPPROTO_ICMPV6
        protocol = echo if first.kind == ECHO else 0
        self._socket = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol)
        self._peers: set[bytes] = set()
        with suppress(OSError):
            self._socket.setsockopt(*self._error_option, 1)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    @property
    def _error_option(self) -> tuple[int, int]:
        return _IP_RECVERR if self._family == socket.AF_INET else _IPV6_RECVERR

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def send(self, frame: Frame) -> None:
        """Raises OSError."""
        address = _LOOPBACK if frame.address == _HOST else frame.address
        port, payload = frame.port, frame.payload
        if frame.kind == ECHO:
            port, payload = 0, _ECHO.pack(_REQUEST[self._family], 0, 0, 0, frame.port) + payload
        if len(self._peers) >= KNOWN_MAX:
            self._peers.clear()
        self._peers.add(frame.address)
        target = (socket.inet_ntop(self._family, unmapped(address)), port)
        try:
            self._socket.sendto(payload, target)
        except BlockingIOError:
            raise
        except OSError:  # it may be of what was sent before
            if not self._tell_errors():
                raise
            self._socket.sendto(payload, target)

    def _receive(self) -> None:
        for _ in range(TURN_DATAGRAMS):
            try:
                payload, (host, port, *_) = self._socket.recvfrom(_MAX_DATAGRAM)
            except OSError:
                if not self._tell_errors():
                    return
                continue
            address = self._seen_by_program(host)
            if address not in self._peers:  # RFC 4787: address-dependent filtering
                continue
            if self._kind == ECHO:
                port, payload = _ECHO.unpack_from(payload)[4], payload[_ECHO.size :]
            self._deliver([Frame(self._kind, self._number, port, address, payload)])

    def _seen_by_program(self, host: str) -> bytes:
        address = mapped(socket.inet_pton(self._family, host.partition("%")[0]))
        return _HOST if address == _LOOPBACK else address

    def _tell_errors(self) -> bool:
        """Tell the program of the ICMP errors that have come; return whether there was an error at all."""
        found = False
        while True:
            try:
                quoted, extras, _, address = self._socket.recvmsg(512, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return found
            found = True
            for level, option, data in extras:
                if (level, option) != self._error_option or not address:
                    continue
                error, origin, kind, code, *_ = _EXTENDED_ERROR.unpack_from(data)
                if origin in _FROM_ICMP and error != errno.EMSGSIZE:
                    port = address[1]
                    if self._kind == ECHO and len(quoted) >= _ECHO.size:
                        port = _ECHO.unpack_from(quoted)[4]
                    failure = Failure(kind, code, NOWHERE).encoded()
                    at = self._seen_by_program(address[0])
                    self._deliver([Frame(FAILED, self._number, port, at, failure)])


def _failed(frame: Frame, number: int) -> Frame:
    family = socket.AF_INET if len(unmapped(frame.address)) == 4 else socket.AF_INET6
    failure = Failure(_UNREACHABLE[family], _CODES[number][family == socket.AF_INET6], NOWHERE)
    return Frame(FAILED, frame.flow, frame.port, frame.address, failure.encoded())
